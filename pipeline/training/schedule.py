"""What a step does as a pure function of its number: learning rates, frozen groups, loss weights. No torch here.

Step s (from 0) is the update that turns the weights after s updates into those after s + 1.

    warm-up       learning_rate * (s + 1) / warmup
    cosine        half a cosine from learning_rate to the minimum over decay_steps, then the minimum
    linear        a line from learning_rate to the minimum over decay_steps, then the minimum (Devlin et al. 2019, A.2)
    inverse_sqrt  learning_rate * sqrt(warmup / (s + 1)), warmup taken as 1 if there is none (Raffel et al. 2020,
                  section 3.1.2); with decay_steps, a linear end to the minimum in the last decay_steps
    wsd           constant, then linear to the minimum in the last decay_steps (Hu et al. 2024, MiniCPM, section 4)
    constant      learning_rate to the end

A clock may count less than a step for a step (random_ltd.py): then s is what it says, and lengths are in its units.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from pipeline.training.config import TrainingConfig
from pipeline.training.optimizers.groups import ScheduleConfig
from pipeline.training.random_ltd import Clock, kept_share

_WSD_DECAY_SHARE = 0.1


@dataclass(frozen=True)
class StepPlan:
    """What the config says of one step."""

    learning_rate: float
    group_rates: dict[str, float] = field(default_factory=dict)
    """By group; 0 while it is frozen."""
    frozen: frozenset[str] = frozenset()
    loss_weights: dict[str, float] = field(default_factory=dict)
    """By term; 1 for those that are not named."""
    observed: bool = False
    """Whether gradients and logits are measured, to be logged."""
    kept_share: float | None = None
    """Of the tokens in the middle layers, where the run drops any."""


def step_plan(config: TrainingConfig, step: int, clock: Clock = float) -> StepPlan:
    """The plan of the update number `step` (from 0)."""
    frozen = frozenset(name for name, group in config.groups.items() if step < group.frozen_steps)
    return StepPlan(
        learning_rate(config, step, clock),
        {name: 0.0 if name in frozen else learning_rate(*_since(config, name, clock, step)) for name in config.groups},
        frozen,
        {term: _weight(weight, step) for term, weight in config.loss_weights.items()},
        observed=(step + 1) % config.log_every == 0,
        kept_share=kept_share(config.random_ltd, step),
    )


def _since(config: TrainingConfig, group: str, clock: Clock, step: int) -> tuple[TrainingConfig, int, Clock]:
    """A group's own run, which begins when it is no longer frozen: its config, the step in it, its clock."""
    frozen = config.groups[group].frozen_steps
    return config.of_group(group), step - frozen, lambda number: clock(number + frozen) - clock(frozen)


def _weight(weight: float | Sequence[tuple[int, float]], step: int) -> float:
    """A factor, or the place of `step` on the lines between points; constant before the first and after the last."""
    if isinstance(weight, int | float):
        return float(weight)
    before = [point for point in weight if point[0] <= step]
    after = [point for point in weight if point[0] > step]
    if not before or not after:
        return (before[-1] if before else after[0])[1]
    (start, low), (end, high) = before[-1], after[0]
    return low + (high - low) * (step - start) / (end - start)


def learning_rate(config: TrainingConfig, step: int, clock: Clock = float) -> float:
    """The rate of the update number `step` (from 0) of the run that `config` describes.

    Its schedule is as far as `clock` says, and the run is as long as that of all its steps.
    """
    warmup, done, end = config.warmup_steps, clock(step), clock(config.steps)
    if (reached := clock(step + 1)) <= warmup:
        return config.learning_rate * reached / warmup
    shape = _SHAPES[config.schedule.kind]
    return config.learning_rate * shape(config.schedule, warmup, end, max(done, warmup))


def _cosine(schedule: ScheduleConfig, warmup: int, steps: float, step: float) -> float:
    length = schedule.decay_steps or max(1, steps - warmup)
    done = min(1.0, (step - warmup) / length)
    return schedule.min_lr_ratio + (1.0 - schedule.min_lr_ratio) * 0.5 * (1.0 + math.cos(math.pi * done))


def _linear(schedule: ScheduleConfig, warmup: int, steps: float, step: float) -> float:
    return _linear_end(1.0, schedule.min_lr_ratio, warmup, warmup + (schedule.decay_steps or steps - warmup), step)


def _inverse_sqrt(schedule: ScheduleConfig, warmup: int, steps: float, step: float) -> float:
    warmup = max(1, warmup)
    start = steps - (schedule.decay_steps or 0)
    ratio = math.sqrt(warmup / max(warmup, min(step, start) + 1))
    return _linear_end(ratio, schedule.min_lr_ratio, start, steps, step)


def _wsd(schedule: ScheduleConfig, warmup: int, steps: float, step: float) -> float:
    length = schedule.decay_steps or max(1, round(steps * _WSD_DECAY_SHARE))
    return _linear_end(1.0, schedule.min_lr_ratio, steps - length, steps, step)


def _constant(schedule: ScheduleConfig, warmup: int, steps: float, step: float) -> float:
    return 1.0


_SHAPES = {"cosine": _cosine, "linear": _linear, "inverse_sqrt": _inverse_sqrt, "wsd": _wsd, "constant": _constant}


def _linear_end(ratio: float, minimum: float, start: float, end: float, step: float) -> float:
    if step < start:
        return max(ratio, minimum)
    left = max(0.0, (end - step) / max(1, end - start))
    return minimum + (max(ratio, minimum) - minimum) * left
