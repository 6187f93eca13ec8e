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
from pipeline.training.continuing import Lineage
from pipeline.training.hooks import Evaluation, Reports
from pipeline.training.loop import Progress, StepReport
from pipeline.training.rank import Rank
from pipeline.training.trouble import StepGuard


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
        guard: StepGuard,
        lineage: Lineage,
        record: Record | None,
    ) -> None:
        """`record` is the checkpoint that the run goes on from. Collective."""
        self._config, self._data, self._state = config, data, state
        self._environment, self._evaluation, self._reports = environment, evaluation, reports
        self._saver = Saver(store, rank, config.checkpoint)
        self._guard, self.lineage = guard, lineage
        self._saved_step = record.step if record else None
        self.progress = Progress(record.step, record.position, record.tokens) if record else Progress()
        """Where the run stands, as far as this hook was told."""
        self.last_loss = record.last_loss if record else None
        evaluation.losses = dict(record.heldout) if record else {}

    @property
    def failed(self) -> bool:
        """Whether a save beside training has failed: `finish` raises it, once all ranks have left the loop."""
        return self._saver.failed

    def __call__(self, report: StepReport) -> None:
        """After a training step."""
        self._report(self._saver.poll())
        self.last_loss, self.progress = report.loss.hex(), report.progress
        step = report.progress.step
        if step % self._config.checkpoint.save_every == 0 or step == self._config.training.steps:
            self.save(report.progress)

    def save(self, progress: Progress) -> None:
        """Save now, unless this very state is saved, or nothing is done yet. Collective."""
        if progress.step not in (0, self._saved_step):
            self._save(progress)

    def save_start(self, progress: Progress) -> None:
        """A checkpoint before the first step of a new run, to roll back to. Collective."""
        if self._saved_step is None:
            self._save(progress)

    def _save(self, progress: Progress) -> None:
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
            moments=self._state.moments,
            weight_sums=self._state.weight_sums,
            last_loss=self.last_loss,
            heldout=dict(self._evaluation.losses),
            environment=self._environment,
            skipped=self.lineage.skipped,
            data_changes=self.lineage.data_changes,
            origin=self.lineage.origin,
            recent_losses=self._guard.recent_losses,
            recent_grad_norms=self._guard.recent_grad_norms,
            skipped_updates=self._guard.skipped_updates,
            saved_at=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        )
