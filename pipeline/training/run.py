"""One rank of a training run, from its folder to its result.

1. config, process group, data
2. the newest valid checkpoint, if there is one, and whether this config continues it
3. engine, state, loader, generators (last: setting up the loader draws from them)
4. the loop, with its hooks
5. the result, or a saved state to continue from

    RUN/train/  metrics.jsonl  tensorboard/  checkpoints/  logs/  beats/  result.json
"""

import contextlib
import hashlib
import json
import os
from pathlib import Path
from typing import Any, TextIO

import torch
import torch.distributed as dist

from data_prep.errors import InputError, StoppedEarlyError
from data_prep.shards.files import publish, staged_bytes
from pipeline.checkpoint.compatible import check_continues
from pipeline.checkpoint.format import Record
from pipeline.checkpoint.resume import agree_on_checkpoint, restore_rank_generators, restore_state
from pipeline.checkpoint.rng import seed_generators
from pipeline.checkpoint.state import TrainingState
from pipeline.checkpoint.store import open_store
from pipeline.config import RunConfig, load_run
from pipeline.training.assembly import Data, build_engine, open_data
from pipeline.training.config import accumulation_steps
from pipeline.training.engine import Engine
from pipeline.training.environment import describe_environment, environment_changes
from pipeline.training.heartbeat import Heartbeat
from pipeline.training.hooks import Evaluation, HealthReport, Reports, refuse_non_finite
from pipeline.training.loader import RankPositions, load_steps
from pipeline.training.loop import Hook, Progress, train_steps
from pipeline.training.metrics import MetricsLog
from pipeline.training.progress import ProgressLine, indented
from pipeline.training.rank import Rank, join_process_group, rank_from_environment, set_threads
from pipeline.training.saving import Saving
from pipeline.training.schedule import learning_rate
from pipeline.training.stopping import PARENT, StopRequest
from pipeline.training.tensorboard import TensorBoard
from pipeline.training.throughput import count_flops, measure_peak

RESULT = "result.json"


def train_rank(run_dir: Path, output: TextIO) -> None:
    """Train this rank's part of the run in `run_dir` to its end; progress goes to `output` (rank 0).
    Raises StoppedEarlyError when asked to stop (the state is saved), InputError and SpanwrightError with one message.
    """
    config = load_run(run_dir)
    stop = StopRequest(config.training.stop_after, launched=PARENT in os.environ)
    stop.listen()
    rank = rank_from_environment()
    accumulation_steps(config.training.global_batch, config.training.micro_batch, rank.world_size)
    data = open_data(config)
    threads = set_threads(rank, config.training.threads_per_rank)
    join_process_group(rank)
    try:
        _Session(config, data, rank, threads, stop, output).run()
    finally:
        dist.destroy_process_group()


class _Session:
    """The parts that live as long as the process group."""

    def __init__(
        self, config: RunConfig, data: Data, rank: Rank, threads: int, stop: StopRequest, output: TextIO
    ) -> None:
        self.config, self.data, self.rank, self.stop, self.output = config, data, rank, stop, output
        self.environment = describe_environment(config.training, rank, threads)
        self.store = open_store(config.checkpoints)
        self.heartbeat = Heartbeat(config.train_dir / "beats", rank.index)

    def run(self) -> None:
        """Resume or start, train, and write the result."""
        seed_generators(self.config.run.seed, self.rank.index)
        found = agree_on_checkpoint(self.store, self.rank, self._say)
        record = found[1] if found else None
        if record is not None:
            self._check_continues(record)
        engine = build_engine(self.config, self.data, self.rank)
        state = TrainingState(engine)
        if found is not None:
            restore_state(*found, state)
        progress = Progress(record.step, record.position, record.tokens) if record else Progress()
        training, rank = self.config.training, self.rank
        positions = RankPositions(training, rank.index, rank.world_size, start=progress.step)
        steps = load_steps(self.data.micro_batches, positions, training.loader_workers, rank.device)
        with contextlib.ExitStack() as stack:
            reports = self._reports(engine, progress.step, stack)
            if found is not None:
                restore_rank_generators(found[0], rank)
            stack.callback(self.heartbeat.write)
            self._train(engine, state, steps, progress, record, reports)

    def _train(
        self, engine: Engine, state: TrainingState, steps: Any, progress: Progress, record: Record | None,
        reports: Reports | None,
    ) -> None:  # fmt: skip
        config = self.config
        evaluation = Evaluation(engine, config, self.data, reports)
        saving = Saving(
            self.store, config, self.data, self.rank, state, self.environment, evaluation, reports,
            saved_step=progress.step,
        )  # fmt: skip
        if record is not None:
            evaluation.losses, saving.last_loss = dict(record.heldout), record.last_loss
        else:
            evaluation.run(step=0)
        told: list[Hook] = [reports.step, HealthReport(config, reports)] if reports else []
        hooks: list[Hook] = [self.heartbeat, refuse_non_finite(self.store), *told, evaluation, saving]
        progress = train_steps(
            engine, steps, progress, lambda step: learning_rate(config.training, step), hooks,
            asked_to_stop=lambda: self.stop.reason is not None or saving.failed,
        )  # fmt: skip
        if progress.step < config.training.steps:
            saving.save(progress)
        saving.finish()
        if progress.step < config.training.steps:
            asked_by = self.stop.reason or "another rank"
            raise StoppedEarlyError(
                f"stopped after step {progress.step} of {config.training.steps} (asked by {asked_by}); the state is "
                "saved, and the same command continues from it"
            )
        self._write_result(progress, state, evaluation, saving)

    def _check_continues(self, record: Record) -> None:
        check_continues(record.config, self.config.model_dump(mode="json"), record.step)
        for what, saved, current in (
            ("dataset", record.dataset_fingerprint, self.data.dataset.fingerprint),
            ("tokenizer", record.tokenizer_digest, self.data.tokenizer.digest),
            (
                "stream of samples (or a table of similar tokens)",
                record.stream_fingerprint,
                self.data.stream_fingerprint,
            ),
        ):
            if saved != current:
                raise InputError(
                    f"{self.data.dataset.folder}: the {what} is not the one this run was trained on (fingerprint "
                    f"{saved[:12]} then, {current[:12]} now): put it back, or train in another folder (run.dir=...)"
                )
        self._say(f"continuing after step {record.step} of {self.config.training.steps}")
        for change in environment_changes(record.environment, self.environment):
            self._say(f"changed since the checkpoint ({change}): same samples and state, losses differ in last digits")

    def _reports(self, engine: Engine, step: int, stack: contextlib.ExitStack) -> Reports | None:
        config, rank = self.config, self.rank
        training = config.training
        flops = count_flops(engine, self.data.micro_batches[0].to(rank.device).views)
        flops *= accumulation_steps(training.global_batch, training.micro_batch, rank.world_size)
        peak = training.peak_tflops * 1e12 if training.peak_tflops else measure_peak(rank.device)
        if not rank.is_first:
            return None
        line = ProgressLine(self.output, training.steps, step, training.log_every, flops, peak)
        reports = Reports(
            MetricsLog(config.train_dir / "metrics.jsonl", step),
            TensorBoard(config.train_dir / "tensorboard", step, self.data.tokenizer),
            line,
            training.log_every,
        )
        stack.callback(reports.close)
        return reports

    def _write_result(self, progress: Progress, state: TrainingState, evaluation: Evaluation, saving: Saving) -> None:
        weight_hash = hash_weights(state)
        if not self.rank.is_first:
            return
        result = {
            "step": progress.step,
            "position": progress.position,
            "tokens": progress.tokens,
            "loss": float.fromhex(saving.last_loss) if saving.last_loss else None,
            "loss_hex": saving.last_loss,
            "heldout_loss_before": evaluation.losses.get("before"),
            "heldout_loss_after": evaluation.losses.get("newest"),
            "weight_hash": weight_hash,
        }
        publish([staged_bytes(self.config.train_dir / RESULT, (json.dumps(result, indent=1) + "\n").encode())])

    def _say(self, text: str) -> None:
        if self.rank.is_first:
            print(indented(text), file=self.output, flush=True)


def hash_weights(state: TrainingState) -> str:
    """SHA-256 over the names and bytes of the fp32 masters, sorted by name: equal for equal weights. Collective."""
    digest = hashlib.sha256()
    for name, value in state.masters():
        digest.update(name.encode())
        digest.update(value.contiguous().view(torch.uint8).numpy().data)
    return digest.hexdigest()
