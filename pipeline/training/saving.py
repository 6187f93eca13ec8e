"""Saving, the last hook of a step.

Invariant: a checkpoint of step s is taken after everything else of step s, so that a resumed run repeats none of it.
"""

import datetime
from typing import Any

from pipeline.checkpoint.format import Record
from pipeline.checkpoint.saver import Saved, Saver
from pipeline.checkpoint.state import TrainingState
from pipeline.checkpoint.store import Store
from pipeline.config import RunConfig
from pipeline.training.assembly import Data
from pipeline.training.hooks import Evaluation, Reports
from pipeline.training.loop import Progress, StepReport
from pipeline.training.rank import Rank


class Saving:
    """A checkpoint every `save_every` steps, after the last, and when asked to stop."""

    def __init__(
        self,
        store: Store,
        config: RunConfig,
        data: Data,
        rank: Rank,
        state: TrainingState,
        environment: dict[str, Any],
        evaluation: Evaluation,
        reports: Reports | None,
        saved_step: int,
    ) -> None:
        """Collective."""
        self._config, self._data, self._state = config, data, state
        self._environment, self._evaluation, self._reports = environment, evaluation, reports
        self._saver = Saver(store, rank, config.checkpoint)
        self._saved_step = saved_step
        self.last_loss: str | None = None

    @property
    def failed(self) -> bool:
        """Whether a save beside training has failed: `finish` raises it, once all ranks have left the loop."""
        return self._saver.failed

    def __call__(self, report: StepReport) -> None:
        """After a training step."""
        self._report(self._saver.poll())
        self.last_loss = report.loss.hex()
        step = report.progress.step
        if step % self._config.checkpoint.save_every == 0 or step == self._config.training.steps:
            self.save(report.progress)

    def save(self, progress: Progress) -> None:
        """Save now, unless this very state is saved. Collective."""
        if progress.step == self._saved_step:
            return
        if self._reports is not None:
            self._reports.flush()
        self._report(self._saver.save(self._record(progress), self._state))
        self._saved_step = progress.step

    def finish(self) -> None:
        """Wait until what was saved is on the disk; SpanwrightError when it cannot be. Collective."""
        self._report(self._saver.finish())

    def _report(self, saved: Saved | None) -> None:
        if saved is not None and self._reports is not None:
            self._reports.saved(saved)

    def _record(self, progress: Progress) -> Record:
        return Record(
            step=progress.step,
            position=progress.position,
            tokens=progress.tokens,
            config=self._config.model_dump(mode="json"),
            dataset_fingerprint=self._data.dataset.fingerprint,
            stream_fingerprint=self._data.stream_fingerprint,
            tokenizer_digest=self._data.tokenizer.digest,
            parameters={name: list(shape) for name, shape in self._state.shapes.items()},
            buffers={name: list(shape) for name, shape in self._state.buffer_shapes.items()},
            last_loss=self.last_loss,
            heldout=dict(self._evaluation.losses),
            environment=self._environment,
            saved_at=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        )
