"""A run as a graph of stages: prep -> train -> export -> evaluate.

Each stage has an identity, a hash of its part of the config and of its inputs' results. A finished stage whose identity
has not changed is skipped, a changed one reruns, a stopped one continues from its own saved state.

    RUN/config.yaml          the resolved config
    RUN/stages/NAME.json     identity and result of each finished stage
    RUN/data/                token shards               (prep)
    RUN/train/               metrics, checkpoints, logs (train)
    RUN/export/              models and export.json     (export)
"""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.table import Table

from data_prep.errors import InputError
from data_prep.shards.files import publish, staged_bytes
from launch import stage_actions
from launch.start import Start
from launch.terminal import detail, heading, table
from pipeline.config import RunConfig, fingerprint, save_config

Result = dict[str, Any]
Action = Callable[[RunConfig], Result]
ConfirmFresh = Callable[[Path], bool]


@dataclass(frozen=True)
class Stage:
    """One node of the graph."""

    name: str
    inputs: tuple[str, ...]
    about: str
    identity: Callable[[RunConfig], list[Any]]
    """The parts of the config that decide the result."""
    action: Action
    output: Callable[[Result], Any]
    """The part of the result that later stages depend on."""
    is_there: Callable[[RunConfig, Result], bool] = lambda config, result: True
    """Whether what it made is still where it was."""
    always: bool = False
    """The stage finds out by itself, cheaply, what is left to do (its inputs lie outside the run)."""


STAGES = {
    stage.name: stage
    for stage in (
        Stage(
            "prep",
            (),
            "corpus to token shards",
            identity=lambda c: [c.data],
            action=stage_actions.prep,
            output=lambda result: result["fingerprint"],
            always=True,
        ),
        Stage(
            "train",
            ("prep",),
            "token shards to a trained model",
            identity=lambda c: [
                *(c.model, c.stream, c.corruption, c.objective, c.training, c.deepspeed, c.run.seed, *c.phases),
            ],
            action=stage_actions.train,
            output=lambda result: result["weight_hash"],
        ),
        Stage(
            "export",
            ("train",),
            "trained model to other libraries, compared",
            identity=lambda c: [c.export],
            action=stage_actions.export,
            output=lambda result: result,
            is_there=stage_actions.exports_are_there,
        ),
        Stage(
            "evaluate",
            ("train", "export"),
            "loss and filled-in text",
            identity=lambda c: [c.evaluation],
            action=stage_actions.evaluate,
            output=lambda result: result,
        ),
    )
}


def run_stages(
    config: RunConfig,
    names: Sequence[str],
    confirm_fresh: ConfirmFresh | None = None,
    elsewhere: Mapping[str, Action] | None = None,
    start: Start | None = None,
    saves_config: bool = True,
) -> None:
    """Run the named stages in order, skipping what is finished; `config` becomes the run's, if it `saves_config`.

    With `confirm_fresh` training starts over, once it has said yes. `elsewhere` carries stages out in other places than
    this process and machine; `start` says where training starts from. Raises InputError when a stage's input is
    missing, StoppedEarlyError when training was asked to stop.
    """
    if confirm_fresh is not None:
        _start_over(config, confirm_fresh)
    start = start or Start()
    stage_actions.check_continues(config, start)
    if saves_config:
        save_config(config)
    for name in names:
        if name == "train" and start.apply(config):
            _record_path(config, name).unlink(missing_ok=True)
        _run_stage(STAGES[name], config, (elsewhere or {}).get(name))


def describe_stages(config: RunConfig) -> Table:
    """What `run` would do with `config`, a line each."""
    rows = []
    for stage in STAGES.values():
        rows.append((stage.name, ", ".join(stage.inputs) or "-", describe_state(config, stage.name), stage.about))
    return table(("stage", "after", "state", "what"), rows)


def describe_state(config: RunConfig, name: str) -> str:
    """`not run` (or what it made is gone), `done`, or `changed` (its config or its inputs are others now)."""
    return _state(STAGES[name], config, _read_record(config, name))


def _state(stage: Stage, config: RunConfig, record: Result | None) -> str:
    if record is None or not stage.is_there(config, record["result"]):
        return "not run"
    return "done" if record["identity"] == _identity(stage, config) else "changed"


def _run_stage(stage: Stage, config: RunConfig, elsewhere: Action | None) -> None:
    missing = [name for name in stage.inputs if _result(config, name) is None]
    if missing:
        raise InputError(
            f"{stage.name} needs the result of {missing[0]}, and {config.run_dir} has none. "
            f"Run `spanwright {missing[0]}` (or `spanwright run`) first."
        )
    record = _read_record(config, stage.name)
    if record is not None and _state(stage, config, record) == "done" and not stage.always:
        heading(stage.name, "done before, nothing changed")
    else:
        heading(stage.name, stage.about)
        started = time.monotonic()
        record = {"identity": _identity(stage, config), "result": (elsewhere or stage.action)(config)}
        record["seconds"] = round(time.monotonic() - started, 3)
        _write_record(config, stage.name, record)
    for line in stage_actions.summary(stage.name, config, record["result"]):
        detail(line)


def _identity(stage: Stage, config: RunConfig) -> str:
    results = {name: _result(config, name) for name in stage.inputs}
    inputs = {name: result and STAGES[name].output(result) for name, result in results.items()}
    return fingerprint(stage.name, *stage.identity(config), inputs)


def _start_over(config: RunConfig, confirm: ConfirmFresh) -> None:
    if not stage_actions.has_training_state(config):
        return
    if not confirm(config.train_dir):
        raise InputError(f"--fresh: {config.train_dir} was kept. Give run.dir=ANOTHER to train beside it.")
    stage_actions.remove_training_state(config)
    for name in ("train", "export", "evaluate"):
        _record_path(config, name).unlink(missing_ok=True)


def _record_path(config: RunConfig, name: str) -> Path:
    return config.run_dir / "stages" / f"{name}.json"


def _result(config: RunConfig, name: str) -> Result | None:
    """The result of a stage; a dataset that was prepared elsewhere counts as prepared."""
    record = _read_record(config, name)
    if record is None:
        return stage_actions.existing_dataset(config) if name == "prep" else None
    return record["result"]


def _read_record(config: RunConfig, name: str) -> Result | None:
    path = _record_path(config, name)
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError, ValueError):  # damaged: the stage finds out what is left to do
        return None


def _write_record(config: RunConfig, name: str, record: Result) -> None:
    path = _record_path(config, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    publish([staged_bytes(path, json.dumps(record, indent=1).encode())])
