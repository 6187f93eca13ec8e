"""A loss that is not finite, or that explodes: stop, or go back to the last checkpoint and leave the samples out.

Invariant: whether a step is in trouble depends on the losses of the steps before it and on nothing else. They are part
of a checkpoint, so that a run that was killed judges as one that was not.
"""

import math
import statistics
from collections import deque
from collections.abc import Iterable

from data_prep.errors import SpanwrightError
from pipeline.checkpoint.format import SkippedSamples
from pipeline.training.config import TroubleConfig
from pipeline.training.loop import StepReport
from pipeline.training.positions import Skipped, first_position

_FEWEST = 5


class TroubleError(SpanwrightError):
    """A step whose loss or gradient cannot be trained on."""

    def __init__(self, step: int, reason: str) -> None:
        """`step` counts from 0."""
        super().__init__(f"step {step + 1}: {reason}")
        self.step, self.reason = step, reason


class LossGuard:
    """The first hook of a step: raises TroubleError, on every rank at the same step."""

    def __init__(self, config: TroubleConfig, recent: Iterable[str] = ()) -> None:
        self._factor = config.loss_factor
        self._recent = deque((float.fromhex(loss) for loss in recent), maxlen=config.window if self._factor else 0)

    @property
    def recent(self) -> list[str]:
        """The losses it judges by, hexadecimal, oldest first."""
        return [loss.hex() for loss in self._recent]

    def __call__(self, report: StepReport) -> None:
        """After a training step."""
        reason = self._reason(report)
        if reason is not None:
            raise TroubleError(report.progress.step - 1, reason)
        self._recent.append(report.loss)

    def _reason(self, report: StepReport) -> str | None:
        if not (math.isfinite(report.loss) and math.isfinite(report.grad_norm)):
            return f"the loss is {report.loss} and the gradient norm {report.grad_norm}"
        if self._factor and len(self._recent) >= _FEWEST:
            usual = statistics.median(self._recent)
            if report.loss > self._factor * usual:
                return f"the loss is {report.loss:.4g}, more than {self._factor:g} times the {usual:.4g} before it"
        return None


def samples_to_skip(
    trouble: TroubleError, resumed_step: int, global_batch: int, skipped: Skipped, skip_steps: int
) -> list[SkippedSamples]:
    """The samples of the step in trouble and those before it that are read again after `resumed_step` updates."""
    steps = range(max(resumed_step, trouble.step - skip_steps + 1), trouble.step + 1)
    starts = [first_position(step, global_batch, skipped) for step in steps]
    return [
        SkippedSamples(start=start, stop=start + global_batch, step=step, reason=trouble.reason)
        for step, start in zip(steps, starts, strict=True)
    ]
