"""What hangs on the loop after a step: reporting and held-out evaluation. A guard comes before them, saving after."""

import math
from pathlib import Path

import numpy as np
import torch.distributed as dist

from data_prep.tokenizer import Tokenizer
from pipeline.batch import MicroBatch
from pipeline.checkpoint.saver import Saved
from pipeline.checkpoint.state import TrainingState
from pipeline.config import RunConfig
from pipeline.training.assembly import Data
from pipeline.training.engine import Engine
from pipeline.training.heldout import HeldOut, evaluate
from pipeline.training.loop import StepReport
from pipeline.training.reports.health import run_warnings
from pipeline.training.reports.history import History
from pipeline.training.reports.metrics import METRICS, SAMPLES, MetricsLog, StepLog
from pipeline.training.reports.progress import ProgressLine
from pipeline.training.reports.samples import sample_record
from pipeline.training.reports.tensorboard import TensorBoard, describe_sample, view_statistics
from pipeline.training.trouble import Trouble


class Reports:
    """What rank 0 writes for people and programs; the other ranks have none."""

    def __init__(
        self,
        train_dir: Path,
        resumed_step: int,
        line: ProgressLine,
        history: History,
        tokenizer: Tokenizer,
        log_every: int,
    ) -> None:
        """What was written of steps after `resumed_step` is forgotten."""
        self.metrics = MetricsLog(train_dir / METRICS, resumed_step)
        self.samples = StepLog(train_dir / SAMPLES, resumed_step)
        self.board = TensorBoard(train_dir / "tensorboard", resumed_step)
        self.line, self.history, self._tokenizer, self._log_every = line, history, tokenizer, log_every

    def tell_flops(self, of_rank: int) -> None:
        """The FLOPs of the steps from now on, on one rank."""
        self.line.flops_of_step, self.metrics.flops_of_step = of_rank, of_rank * dist.get_world_size()

    def step(self, report: StepReport) -> None:
        """A training step."""
        views = None
        if report.progress.step % self._log_every == 0:
            views = view_statistics(report.micro_batch.to("cpu"), self._tokenizer.special)
            self.board.write_step(report, views)
        self.metrics.write_step(report, views)
        self.line.step(report)
        if report.trouble is not None:
            self._trouble(report.trouble)

    def _trouble(self, trouble: Trouble) -> None:
        """A step that stood out, and whether it updated the weights."""
        samples = [trouble.start, trouble.stop]
        self.history.add("trouble", trouble.step + 1, action=trouble.action, reason=trouble.reason, samples=samples)
        self.line.say(f"warning: {trouble}" + (": no update" if trouble.action == "skip" else ""))

    def heldout(self, step: int, terms: dict[str, float]) -> None:
        """A held-out evaluation."""
        self.metrics.write_heldout(step, terms)
        self.board.write_heldout(step, terms)
        self.line.say(f"step {step}: held-out loss {math.fsum(terms.values()):.4f}")

    def predicted(self, step: int, micro_batch: MicroBatch, predictions: np.ndarray) -> None:
        """What the model would write for held-out samples."""
        self.samples.write(sample_record(step, micro_batch, predictions, self._tokenizer))
        self.board.write_samples(step, describe_sample(micro_batch, predictions, self._tokenizer))

    def probe(self, step: int, name: str, metrics: dict[str, float]) -> None:
        """What a probe found."""
        self.board.write_probe(step, name, metrics)
        told = ", ".join(f"{metric} {value:.4g}" for metric, value in metrics.items())
        self.line.say(f"step {step}: {name}: {told}")

    def saved(self, saved: Saved) -> None:
        """A checkpoint that is on the disk now."""
        self.board.write_save(saved)
        self.history.add("saved", saved.step, seconds=saved.seconds, stall_seconds=saved.stall_seconds)
        self.line.say(
            f"step {saved.step}: saved in {saved.seconds:.1f} s, of which training waited {saved.stall_seconds:.2f} s"
        )

    def flush(self) -> None:
        """Let nothing of the steps so far be lost with this process: a checkpoint relies on it."""
        self.metrics.flush()
        self.samples.flush()
        self.board.flush()

    def close(self) -> None:
        """Flush and close everything."""
        self.line.close()
        self.board.close()
        self.samples.close()
        self.metrics.close()


class HealthReport:
    """Rank 0 says what is wrong with a run that works, when it begins and when it has changed."""

    def __init__(self, config: RunConfig, reports: Reports) -> None:
        self._config, self._every, self._reports = config, config.training.log_every, reports
        self._told: set[str] = set()

    def __call__(self, report: StepReport) -> None:
        """After a training step."""
        if report.progress.step % self._every:
            return
        found = run_warnings(self._config.train_dir, self._config.checkpoints)
        for subject in sorted(found.keys() - self._told):
            self._reports.line.say(f"warning: {found[subject]}")
        self._told = set(found)


class Evaluation:
    """Held-out loss before the first step, every `evaluate_every` steps, and after the last."""

    def __init__(
        self, engine: Engine, state: TrainingState, config: RunConfig, data: Data, reports: Reports | None
    ) -> None:
        self._engine, self._state, self._heldout, self._reports = engine, state, data.heldout, reports
        self._every, self._last = config.training.evaluate_every, config.training.steps
        self._show_every = config.training.show_every or self._every
        self.losses: dict[str, float] = {}
        """`before` the first step, and the newest."""

    def __call__(self, report: StepReport) -> None:
        """After a training step."""
        step = report.progress.step
        if step == self._last or (self._every and step % self._every == 0):
            self.run(step)
        if self._heldout and (step == self._last or (self._show_every and step % self._show_every == 0)):
            self._show(step, self._heldout)

    def run(self, step: int) -> None:
        """Evaluate after `step` updates. Collective."""
        if self._heldout is None:
            return
        with self._state.averaged():
            terms = evaluate(self._engine, self._heldout)
        loss = math.fsum(terms.values())
        if step == 0:
            self.losses["before"] = loss
        self.losses["newest"] = loss
        if self._reports is not None:
            self._reports.heldout(step, terms)

    def _show(self, step: int, heldout: HeldOut) -> None:
        micro_batch = heldout.micro_batch_at(0)
        self._engine.module.eval()
        with self._state.averaged():
            predictions = self._engine.predict(micro_batch.to(self._engine.rank.device).views)
        self._engine.module.train()
        if self._reports is not None:
            self._reports.predicted(step, micro_batch.to("cpu"), predictions.cpu().numpy())
