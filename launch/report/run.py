"""What a run folder says of its run: the one reader behind reports and comparisons.

Invariant: nothing is changed, and nothing is computed again; a part that is missing is empty, a part that cannot be
read is named in `problems`. Only what all else hangs on, the config and the metrics, is an error when it is damaged.
"""

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from data_prep.errors import InputError, SpanwrightError
from launch.nodes.attempts import read_attempts
from pipeline.checkpoint.format import RECORD, Record, decode_record
from pipeline.checkpoint.load import saved_steps, step_folder
from pipeline.checkpoint.verify import MAX_JSON_BYTES
from pipeline.config import RunConfig, load_run
from pipeline.evaluation.config import FOLDER
from pipeline.training.reports.history import read_history
from pipeline.training.reports.metrics import METRICS, SAMPLES, read_metrics

STAGES = ("prep", "train", "export", "evaluate")
AXES = ("step", "tokens", "flops", "time")
_SILENT_SECONDS = 60.0

Records = list[dict[str, Any]]
Numbers = np.ndarray


@dataclass(frozen=True)
class Run:
    """A run, as far as it has come."""

    folder: Path
    config: RunConfig
    trained: Records
    """The steps in metrics.jsonl."""
    heldout: Records
    samples: Records
    history: Records
    attempts: Records
    checkpoints: dict[int, Record | None]
    """By step, the oldest first; None for one whose record cannot be read."""
    evaluations: Records
    """The results of `spanwright evaluate`, by step."""
    stages: dict[str, dict[str, Any]]
    """The results of the finished stages."""
    problems: list[str]

    @property
    def name(self) -> str:
        """The folder's."""
        return self.folder.resolve().name

    @property
    def step(self) -> int:
        """The last step in the metrics."""
        return self.trained[-1]["step"] if self.trained else 0

    @property
    def newest(self) -> Record | None:
        """The record of the newest checkpoint that has one."""
        return next((record for record in reversed(self.checkpoints.values()) if record is not None), None)

    @cached_property
    def axes(self) -> dict[str, Numbers]:
        """What each step stands at, by axis: step, tokens, FLOPs and seconds in steps so far.

        An axis that this run's metrics do not tell is left out.
        """
        found = {"step": self.values("step"), "tokens": self.values("tokens")}
        if self.trained and all(record.get("flops") for record in self.trained):
            found["flops"] = self.values("flops").cumsum()
        return {**found, "time": self.values("step_seconds").cumsum()}

    def values(self, field: str) -> Numbers:
        """A field of every step, float64; nan where a step has none."""
        return np.array([record.get(field, np.nan) for record in self.trained], np.float64)

    def at(self, axis: str, steps: list[int]) -> Numbers:
        """Where these steps stand on an axis; the start of the metrics is 0."""
        if axis == "step":
            return np.array(steps, np.float64)
        known = np.concatenate([[0.0], self.axes[axis]])
        return known[np.searchsorted(self.axes["step"], steps, side="right")]

    @property
    def state(self) -> str:
        """What the run is doing, for a person."""
        total = self.config.training.steps
        if self.step >= total and (self.config.train_dir / "result.json").is_file():
            return f"Done: {total:,} steps."
        stands = f"step {self.step:,} of {total:,}"
        if not self.history and not self.trained:
            return "This run has not begun to train."
        last = self.history[-1] if self.history else {}
        if last.get("event") == "failed":
            return f"Failed at {stands}: {last.get('reason', 'see the log')}"
        if last.get("event") == "stopped":
            return f"Stopped early at {stands}; the same command continues it."
        if self._is_running():
            return f"Running, at {stands}."
        return f"Ended at {stands} without saying why (it may have been killed); the same command continues it."

    def _is_running(self) -> bool:
        beats = (self.config.train_dir / "beats").glob("rank-*.json")
        return any(time.time() - path.stat().st_mtime < _SILENT_SECONDS for path in beats)


def read_run(folder: Path) -> Run:
    """The run in `folder`. InputError when it is none, CorruptionError when its metrics are damaged."""
    if not folder.is_dir():
        raise InputError(f"{folder}: there is no such folder; give the folder of a run, as runs/demo.")
    config = load_run(folder)
    problems: list[str] = []
    records = read_metrics(config.train_dir / METRICS)
    return Run(
        folder=folder,
        config=config,
        trained=[record for record in records if "loss" in record],
        heldout=[record for record in records if "heldout_loss" in record],
        samples=read_metrics(config.train_dir / SAMPLES),
        history=read_history(config.train_dir),
        attempts=read_attempts(config.train_dir),
        checkpoints=_checkpoints(config, problems),
        evaluations=list(_evaluations(folder / FOLDER, problems)),
        stages=dict(_stages(folder / "stages", problems)),
        problems=problems,
    )


def _checkpoints(config: RunConfig, problems: list[str]) -> dict[int, Record | None]:
    found: dict[int, Record | None] = {}
    try:
        for step in reversed(saved_steps(config.checkpoints)):
            folder = step_folder(config.checkpoints, step)
            try:
                found[step] = decode_record(folder.read(RECORD, MAX_JSON_BYTES), folder.path(RECORD))
            except (OSError, SpanwrightError) as error:
                found[step] = None
                problems.append(str(error))
    except (OSError, SpanwrightError) as error:  # a store that cannot be reached from here
        problems.append(f"{config.checkpoints}: checkpoints cannot be listed: {error}")
    return found


def _evaluations(folder: Path, problems: list[str]) -> Iterator[dict[str, Any]]:
    for path in sorted(folder.glob("*.json"), key=lambda path: (len(path.stem), path.stem)):
        found = _json_object(path, problems)
        if found is not None and isinstance(found.get("probes"), dict) and isinstance(found.get("step"), int):
            yield found
        elif found is not None:
            problems.append(f"{path}: not the results of an evaluation; `spanwright evaluate` writes them again.")


def _stages(folder: Path, problems: list[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    for name in STAGES:
        found = _json_object(folder / f"{name}.json", problems)
        if found is not None and isinstance(found.get("result"), dict):
            yield name, found["result"]


def _json_object(path: Path, problems: list[str]) -> dict[str, Any] | None:
    """The object in a file; None, and a line in `problems`, for a file that holds none. None when there is no file."""
    try:
        found = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        problems.append(f"{path}: cannot be read: {error}")
        return None
    if not isinstance(found, dict):
        problems.append(f"{path}: cannot be read: it holds no JSON object")
        return None
    return found
