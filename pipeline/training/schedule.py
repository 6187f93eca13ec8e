"""The learning rate as a pure function of the step. No torch here.

Step s (from 0) is the update that turns the weights after s updates into those after s + 1.

    warm-up       learning_rate * (s + 1) / warmup
    cosine        half a cosine from learning_rate to the minimum over decay_steps, then the minimum
    inverse_sqrt  learning_rate * sqrt(warmup / (s + 1)), warmup taken as 1 if there is none (Raffel et al. 2020,
                  section 3.1.2); with decay_steps, a linear end to the minimum in the last decay_steps
    wsd           constant, then linear to the minimum in the last decay_steps (Hu et al. 2024, MiniCPM, section 4)
"""

import math

from pipeline.training.config import ScheduleConfig, TrainingConfig

_WSD_DECAY_SHARE = 0.1


def learning_rate(config: TrainingConfig, step: int) -> float:
    """The rate of the update number `step` (from 0) of the run that `config` describes."""
    warmup = config.warmup_steps
    if step < warmup:
        return config.learning_rate * (step + 1) / warmup
    shape = {"cosine": _cosine, "inverse_sqrt": _inverse_sqrt, "wsd": _wsd}[config.schedule.kind]
    return config.learning_rate * shape(config.schedule, warmup, config.steps, step)


def _cosine(schedule: ScheduleConfig, warmup: int, steps: int, step: int) -> float:
    length = schedule.decay_steps or max(1, steps - warmup)
    done = min(1.0, (step - warmup) / length)
    return schedule.min_lr_ratio + (1.0 - schedule.min_lr_ratio) * 0.5 * (1.0 + math.cos(math.pi * done))


def _inverse_sqrt(schedule: ScheduleConfig, warmup: int, steps: int, step: int) -> float:
    warmup = max(1, warmup)
    start = steps - (schedule.decay_steps or 0)
    ratio = math.sqrt(warmup / max(warmup, min(step, start) + 1))
    return _linear_end(ratio, schedule.min_lr_ratio, start, steps, step)


def _wsd(schedule: ScheduleConfig, warmup: int, steps: int, step: int) -> float:
    length = schedule.decay_steps or max(1, round(steps * _WSD_DECAY_SHARE))
    return _linear_end(1.0, schedule.min_lr_ratio, steps - length, steps, step)


def _linear_end(ratio: float, minimum: float, start: int, end: int, step: int) -> float:
    if step < start:
        return max(ratio, minimum)
    left = max(0.0, (end - step) / max(1, end - start))
    return minimum + (max(ratio, minimum) - minimum) * left
