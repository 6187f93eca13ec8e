"""A step whose loss or gradient is not finite, explodes or stands out: what it is, and what becomes of the step.

1. `StepGuard.judge(...)`: after the backward passes of a step, with its loss
2. `Judgement(grad_norm)`: before the update, which the engine leaves out where this is False
3. `Judgement.settle()`: raises TroubleError where the run must not go on from here
4. `samples_to_skip`: what a rollback leaves out

Invariant: what is judged depends on the losses and gradient norms of the steps before and on nothing else. They are
part of a checkpoint, so that a run that was killed judges as one that was not.
"""

import math
import statistics
from collections.abc import Collection
from dataclasses import dataclass

from data_prep.errors import SpanwrightError
from pipeline.checkpoint.format import Record, SkippedSamples
from pipeline.phases import BatchSizes
from pipeline.training.config import TroubleConfig
from pipeline.training.positions import Skipped, first_position
from pipeline.training.spikes import Window, deviations_above

_FEWEST = 5


@dataclass(frozen=True)
class Trouble:
    """What is wrong with the step number `step` (from 0) on the samples [start, stop), and what is done about it."""

    step: int
    start: int
    stop: int
    reason: str
    action: str
    """As training.trouble has it, or "warn"."""

    def __str__(self) -> str:
        return f"step {self.step + 1}: {self.reason} (samples {self.start} to {self.stop - 1})"


class TroubleError(SpanwrightError):
    """A step that the run does not go on from: it was not made."""

    def __init__(self, trouble: Trouble) -> None:
        super().__init__(str(trouble))
        self.trouble = trouble


class StepGuard:
    """Judges every step, on every rank alike."""

    def __init__(self, config: TroubleConfig, phases: Collection[int] = (), record: Record | None = None) -> None:
        """`phases` are the steps (from 0) from which the past is no measure; `record` the checkpoint to go on from."""
        self._config, self._phases = config, phases
        length = max(config.window if config.loss_factor else 0, config.spikes.window)
        self._losses = Window(length, record.recent_losses if record else ())
        self._grad_norms = Window(length, record.recent_grad_norms if record else ())
        self.skipped_updates = list(record.skipped_updates) if record else []

    @property
    def recent_losses(self) -> list[str]:
        """The losses it judges by, hexadecimal, oldest first."""
        return self._losses.recent

    @property
    def recent_grad_norms(self) -> list[str]:
        """The gradient norms it judges by, hexadecimal, oldest first."""
        return self._grad_norms.recent

    def judge(self, step: int, start: int, stop: int, loss: float) -> "Judgement":
        """The judge of the step number `step` (from 0), whose samples [start, stop) have this loss."""
        if step in self._phases:
            self._losses.clear()
            self._grad_norms.clear()
        return Judgement(self, step, start, stop, loss)

    def find(self, loss: float, grad_norm: float) -> tuple[str, str] | None:
        """What is wrong with a step, and what is to be done about it; None for a good one."""
        trouble = _not_finite(loss, grad_norm) or self._exploded(loss)
        if trouble is not None:
            return trouble, self._config.action
        found = self._spike(loss, grad_norm)
        return (found, self._config.spikes.action) if found is not None else None

    def remember(self, loss: float, grad_norm: float) -> None:
        """A step that the run goes on from; what is not finite is no measure."""
        if math.isfinite(loss) and math.isfinite(grad_norm):
            self._losses.add(loss)
            self._grad_norms.add(grad_norm)

    def bounded(self, trouble: Trouble) -> Trouble:
        """`trouble`, or the end of a run in which too many updates have been skipped already."""
        if trouble.action != "skip" or len(self.skipped_updates) < self._config.max_skipped_steps:
            return trouble
        more = (
            f"; {len(self.skipped_updates)} updates have been skipped already "
            f"(training.trouble.max_skipped_steps={self._config.max_skipped_steps})"
        )
        return Trouble(trouble.step, trouble.start, trouble.stop, trouble.reason + more, "stop")

    def _exploded(self, loss: float) -> str | None:
        factor, usual = self._config.loss_factor, self._losses.last(self._config.window)
        if factor is None or len(usual) < _FEWEST:
            return None
        median = statistics.median(usual)
        if loss <= factor * median:
            return None
        return f"the loss is {loss:.4g}, more than {factor:g} times the {median:.4g} before it"

    def _spike(self, loss: float, grad_norm: float) -> str | None:
        spikes = self._config.spikes
        if spikes.action == "ignore":
            return None
        figures = {"loss": (loss, self._losses), "grad_norm": (grad_norm, self._grad_norms)}
        for name in spikes.watch:
            number, window = figures[name]
            usual = window.last(spikes.window)
            if len(usual) == spikes.window and (above := deviations_above(number, usual)) > spikes.deviations:
                what = {"loss": "loss", "grad_norm": "gradient norm"}[name]
                return (
                    f"the {what} is {number:.4g}, {above:.1f} deviations above the {statistics.median(usual):.4g} of "
                    f"the {len(usual)} steps before it"
                )
        return None


class Judgement:
    """Of one step: called with its gradient norm before the update, tells whether there is to be one."""

    def __init__(self, guard: StepGuard, step: int, start: int, stop: int, loss: float) -> None:
        self._guard, self._step, self._samples, self._loss = guard, step, (start, stop), loss
        self.trouble: Trouble | None = None

    def __call__(self, grad_norm: float) -> bool:
        """Whether the step updates the weights."""
        found = self._guard.find(self._loss, grad_norm)
        if found is not None:
            self.trouble = self._guard.bounded(Trouble(self._step, *self._samples, *found))
        action = self.trouble.action if self.trouble else None
        if action in (None, "warn", "skip"):
            self._guard.remember(self._loss, grad_norm)
        return action in (None, "warn")

    def settle(self) -> None:
        """Note an update that was skipped; TroubleError where the run does not go on from this step."""
        if self.trouble is None or self.trouble.action == "warn":
            return
        if self.trouble.action != "skip":
            raise TroubleError(self.trouble)
        start, stop = self._samples
        skipped = SkippedSamples(start=start, stop=stop, step=self._step, reason=self.trouble.reason)
        self._guard.skipped_updates.append(skipped)


def _not_finite(loss: float, grad_norm: float) -> str | None:
    if math.isfinite(loss) and math.isfinite(grad_norm):
        return None
    return f"the loss is {loss} and the gradient norm {grad_norm}"


def samples_to_skip(
    trouble: Trouble, resumed_step: int, sizes: BatchSizes, skipped: Skipped, skip_steps: int
) -> list[SkippedSamples]:
    """The samples of the step in trouble and those before it that are read again after `resumed_step` updates."""
    steps = range(max(resumed_step, trouble.step - skip_steps + 1), trouble.step + 1)
    starts = [first_position(step, sizes, skipped) for step in steps]
    return [
        SkippedSamples(start=start, stop=start + sizes.global_batch(start), step=step, reason=trouble.reason)
        for step, start in zip(steps, starts, strict=True)
    ]
