"""Whether a run may be continued with a changed config. No torch here: the command line asks before it starts anything.

Invariant: what was trained so far is what the new config would have trained. How it is computed (ranks, micro-batch,
ZeRO stage, threads), how often it is logged, evaluated and saved, and what happens afterwards may change.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from data_prep.errors import InputError
from pipeline.model.config import ModelConfig
from pipeline.training.config import TrainingConfig
from pipeline.training.random_ltd import Clock, RandomLtd, schedule_clock
from pipeline.training.schedule import learning_rate

_SECTIONS = ("model", "stream", "corruption", "objective")
_TRAINING_FIELDS = (
    "global_batch", "precision", "float8", "optimizer", "weight_decay", "betas", "eps", "max_grad_norm", "groups",
    "loss_weights", "random_ltd",
)  # fmt: skip
_BEFORE = {"optimizer": "adamw"}  # what checkpoints from before a field was there were trained with
_ADVICE = "put it back, or train in another folder (run.dir=...) or from the start (--fresh)"


def check_continues(
    saved: Mapping[str, Any], current: Mapping[str, Any], step: int, allow_data_change: bool = False
) -> None:
    """InputError with both values when the config `current` cannot continue a run that did `step` steps with `saved`.

    Both are RunConfig.model_dump(mode="json"). `allow_data_change` lets the `stream:` section differ.
    """
    for field, old, new in _differences(saved, current):
        if allow_data_change and field.startswith("stream."):
            continue
        more = ", or allow the change with --allow-data-change" if field.startswith("stream.") else ""
        raise InputError(f"{field} was {old!r} when this run was trained and is {new!r} now: {_ADVICE}{more}")
    if step > current["training"]["steps"]:
        raise InputError(
            f"training.steps is {current['training']['steps']} and this run has already done {step} steps: {_ADVICE}"
        )
    _check_schedule(saved["training"], current["training"], step, _clock_of(current))


def stream_differences(saved: Mapping[str, Any], current: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """What the `stream:` sections say differently: name -> (was, is)."""
    return {field: (old, new) for field, old, new in _leaf_differences("stream", saved["stream"], current["stream"])}


def _differences(saved: Mapping[str, Any], current: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    for section in _SECTIONS:
        yield from _leaf_differences(section, saved[section], current[section])
    for field in _TRAINING_FIELDS:
        old = saved["training"].get(field, _BEFORE.get(field))
        yield from _added_differences(f"training.{field}", old, current["training"].get(field))
    yield from _added_differences("phases", _phases(saved), _phases(current))
    yield from _leaf_differences("run.seed", saved["run"]["seed"], current["run"]["seed"])


def _phases(config: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Without what is only how a step is computed."""
    return [
        {**phase, "training": {"global_batch": phase.get("training", {}).get("global_batch")}}
        for phase in config.get("phases") or ()
    ]


def _added_differences(path: str, old: Any, new: Any) -> Iterator[tuple[str, Any, Any]]:
    """As below; a checkpoint from before a field was there is like one with nothing in it."""
    return iter(()) if old is None and not new else _leaf_differences(path, old, new)


def _leaf_differences(path: str, old: Any, new: Any) -> Iterator[tuple[str, Any, Any]]:
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in sorted({*old, *new}):
            yield from _leaf_differences(f"{path}.{key}", old.get(key), new.get(key))
    elif old != new:
        yield path, old, new


def _check_schedule(saved: Mapping[str, Any], current: Mapping[str, Any], step: int, clock: Clock) -> None:
    if all(saved[key] == current[key] for key in ("steps", "learning_rate", "schedule")):
        return
    before, after = _schedule_of(saved), _schedule_of(current)
    for number in range(step):
        old, new = learning_rate(before, number, clock), learning_rate(after, number, clock)
        if old != new:
            changed = [*_leaf_differences("training", _schedule_fields(saved), _schedule_fields(current))]
            what = ", ".join(f"{field} from {was!r} to {now!r}" for field, was, now in changed)
            raise InputError(
                f"changing {what} changes the learning rate of step {number}, already done, from {old:g} to {new:g}: "
                f"{_ADVICE}. (Kind wsd, or cosine and linear with an explicit decay_steps, can be continued for more "
                "steps.)"
            )


def _clock_of(config: Mapping[str, Any]) -> Clock:
    """The same for both: neither model nor what is dropped may change."""
    ltd = config["training"].get("random_ltd")
    return schedule_clock(RandomLtd(**ltd), ModelConfig(**config["model"]).stacks) if ltd else float


def _schedule_fields(training: Mapping[str, Any]) -> dict[str, Any]:
    return {key: training[key] for key in ("steps", "learning_rate", "schedule")}


def _schedule_of(training: Mapping[str, Any]) -> TrainingConfig:
    return TrainingConfig(global_batch=1, micro_batch=1, **_schedule_fields(training))
