"""One rank of a training run, from its folder to its result.

1. config, process group, data
2. the newest valid checkpoint, if there is one, and whether this config continues it
3. engine, state, loader, generators (last: setting up the loader draws from them)
4. the loop, with its hooks; from 3 again after a rollback
5. the result, or a saved state to continue from

    RUN/train/  metrics.jsonl  samples.jsonl  history.jsonl  tensorboard/  checkpoints/  logs/  beats/  profile/
               result.json
"""

import contextlib
import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

import torch
import torch.distributed as dist

from data_prep.errors import SpanwrightError, StoppedEarlyError
from data_prep.shards.files import publish, staged_bytes
from pipeline.batch import MicroBatch
from pipeline.checkpoint.format import Record
from pipeline.checkpoint.permission import data_change_allowed
from pipeline.checkpoint.places import open_store
from pipeline.checkpoint.resume import agree_on_checkpoint, restore_rank_generators, restore_state
from pipeline.checkpoint.rng import seed_generators
from pipeline.checkpoint.state import TrainingState
from pipeline.checkpoint.store import Folder
from pipeline.checkpoint.weights import hash_weights
from pipeline.config import RunConfig, load_run
from pipeline.training.assembly import Data, build_engine, open_data
from pipeline.training.collective import share_json
from pipeline.training.continuing import Lineage, check_and_continue
from pipeline.training.engine import Engine
from pipeline.training.environment import describe_environment, environment_changes
from pipeline.training.heartbeat import HANG_SECONDS, Heartbeat, Watchdog
from pipeline.training.hooks import Evaluation, HealthReport, Reports
from pipeline.training.loader import RankPositions, load_steps
from pipeline.training.loop import Hook, Progress, train_steps
from pipeline.training.memory import no_memory
from pipeline.training.probing import Probing
from pipeline.training.profile.profiler import Profiler, Rates
from pipeline.training.profile.request import requested_profile
from pipeline.training.random_ltd import kept_share, schedule_clock
from pipeline.training.rank import Rank, join_process_group, rank_from_environment, set_threads
from pipeline.training.recovery import lineage_without, paused
from pipeline.training.reports.history import History
from pipeline.training.reports.progress import ProgressLine, indented
from pipeline.training.saving import Saving
from pipeline.training.schedule import step_plan
from pipeline.training.stopping import PARENT, StopRequest
from pipeline.training.throughput import MeasuredPeak, Peak, StepFlops
from pipeline.training.trouble import StepGuard, Trouble, TroubleError

RESULT = "result.json"


def train_rank(run_dir: Path, output: TextIO) -> None:
    """Train this rank's part of the run in `run_dir` to its end; progress goes to `output` (rank 0).
    Raises StoppedEarlyError when asked to stop (the state is saved), InputError and SpanwrightError with one message.
    """
    config = load_run(run_dir)
    stop = StopRequest(config.training.stop_after, launched=PARENT in os.environ)
    stop.listen()
    rank = rank_from_environment()
    config.check_ranks(rank.world_size)
    data = open_data(config)
    threads = set_threads(rank, config.training.threads_per_rank)
    join_process_group(rank)
    try:
        Session(config, data, rank, threads, stop, output).run()
    except torch.OutOfMemoryError as error:
        raise SpanwrightError(no_memory(config.training, rank)) from error
    finally:
        dist.destroy_process_group()


class Session:
    """One run on the ranks of a process group, from start to result."""

    def __init__(
        self, config: RunConfig, data: Data, rank: Rank, threads: int, stop: StopRequest, output: TextIO
    ) -> None:
        self.config, self.data, self.rank, self.stop, self.output = config, data, rank, stop, output
        self.environment = describe_environment(config.training, rank, threads)
        self.store = open_store(config.checkpoints)
        self.history = History(config.train_dir if rank.is_first else None)
        self.heartbeat = Heartbeat(config.train_dir / "beats", rank.index)
        seconds = os.environ.get(HANG_SECONDS)
        self.watchdog: list[Hook] = [Watchdog(float(seconds))] if seconds else []
        self.peak = self._find_peak()

    def run(self) -> None:
        """Resume or start, train (again, after a rollback), and write the result. Collective."""
        seed_generators(self.config.run.seed, self.rank.index)
        found = agree_on_checkpoint(self.store, self.rank, self._say)
        lineage = self._continue(found[1]) if found else Lineage()
        self._tell_start(found[1] if found else None)
        engine = build_engine(self.config, self.data, self.rank)
        state = TrainingState(engine)
        try:
            while (trouble := self._train_from(found, lineage, engine, state)) is not None:
                found, lineage = self._roll_back(trouble, lineage)
        except StoppedEarlyError:
            raise
        except SpanwrightError as error:
            self.history.add("failed", reason=str(error))
            raise

    def _tell_start(self, record: Record | None) -> None:
        changes = environment_changes(record.environment, self.environment) if record else []
        step, host = record.step if record else 0, socket.gethostname()
        self.history.add("start", step, host=host, environment=self.environment, changes=changes)

    def _continue(self, record: Record) -> Lineage:
        allowed = self.rank.is_first and data_change_allowed(self.config.train_dir, record)
        lineage = check_and_continue(record, self.config, self.data, bool(share_json(allowed)), self._say)
        self._say(f"continuing after step {record.step} of {self.config.training.steps}")
        for change in environment_changes(record.environment, self.environment):
            self._say(f"changed since the checkpoint ({change}): same samples and state, losses differ in last digits")
        return lineage

    def _train_from(
        self, found: tuple[Folder, Record] | None, lineage: Lineage, engine: Engine, state: TrainingState
    ) -> Trouble | None:
        """Train from a checkpoint (None: from the start) to the end; the trouble, if a rollback is to follow it."""
        training, rank = self.config.training, self.rank
        record = found[1] if found else None
        if found is not None:
            restore_state(*found, state)
            engine.weight_sums = found[1].weight_sums
        progress = Progress(record.step, record.position, record.tokens) if record else Progress()
        positions = RankPositions(
            training, rank.index, rank.world_size, progress.step, lineage.skipped_ranges, self.data.micro_batches.sizes
        )
        steps = load_steps(self.data.micro_batches, positions, training.loader_workers, rank.device)
        with contextlib.ExitStack() as stack:
            reports = self._reports(progress.step, stack)
            flops = StepFlops(engine, self.data, reports.tell_flops if reports else None)
            flops.count(progress.position, kept_share(training.random_ltd, progress.step))
            if found is not None:
                restore_rank_generators(found[0], rank)
            stack.callback(self.heartbeat.write)
            stack.callback(Watchdog.close)
            evaluation = Evaluation(engine, state, self.config, self.data, reports)
            guard = StepGuard(training.trouble, self._new_measures(), record)
            saving = Saving(
                self.store, self.config, self.data, rank, state, self.environment, evaluation, reports, guard, lineage,
                record,
            )  # fmt: skip
            return self._train(engine, state, steps, positions, progress, flops, evaluation, guard, saving, reports)

    def _train(
        self, engine: Engine, state: TrainingState, steps: Iterator[list[MicroBatch]], positions: RankPositions,
        progress: Progress, flops: StepFlops, evaluation: Evaluation, guard: StepGuard, saving: Saving,
        reports: Reports | None,
    ) -> Trouble | None:  # fmt: skip
        training = self.config.training
        clock = schedule_clock(training.random_ltd, self.config.model.stacks)
        if progress.step == 0:
            evaluation.run(step=0)
            if "rollback" in (training.trouble.action, training.trouble.spikes.action):
                saving.save_start(progress)
        told: list[Hook] = [flops, *([self.peak] if isinstance(self.peak, MeasuredPeak) else [])]
        told += [reports.step, HealthReport(self.config, reports)] if reports else []
        probing = Probing(self.config, self.data, self.rank, state, self.environment["threads"], reports)
        hooks: dict[str, list[Hook]] = {
            "reports": [self.heartbeat, *self.watchdog, *told],
            "evaluation": [evaluation, probing],
            "saving": [saving],
        }
        engine, steps, called = self._profiled(engine, steps, hooks, progress, reports)
        try:
            progress = train_steps(
                engine, steps, progress, positions.first_of, lambda step: step_plan(training, step, clock), guard,
                called, asked_to_stop=lambda: self.stop.reason is not None or saving.failed,
            )  # fmt: skip
        except TroubleError as error:
            if error.trouble.action == "pause":
                saving.save(saving.progress)
                saving.finish()
                ending = paused(error.trouble, progress.step, self.config.train_dir.parent)
                if isinstance(ending, StoppedEarlyError):
                    self.history.add("stopped", error.trouble.step, asked_by=f"training.trouble: {error}")
                raise ending from None
            saving.finish()
            return error.trouble
        if progress.step < training.steps:
            saving.save(progress)
        saving.finish()
        if progress.step < training.steps:
            asked_by = self.stop.reason or "another rank"
            self.history.add("stopped", progress.step, asked_by=asked_by)
            saved = "the state is saved, and the same command continues from it"
            if progress.step == 0:
                saved = "there is nothing to save yet, and the same command begins again"
            raise StoppedEarlyError(
                f"stopped after step {progress.step} of {training.steps} (asked by {asked_by}); {saved}"
            )
        self._write_result(progress, state, evaluation, saving)
        return None

    def _new_measures(self) -> set[int]:
        """The steps from which losses and gradients are others: a new phase, parameters that are no longer frozen."""
        phases = {step for step, _ in self.config.in_phases()}
        return phases | {group.frozen_steps for group in self.config.training.groups.values()}

    def _profiled(
        self, engine: Engine, steps: Iterator[list[MicroBatch]], hooks: dict[str, list[Hook]], progress: Progress,
        reports: Reports | None,
    ) -> tuple[Engine, Iterator[list[MicroBatch]], list[Hook]]:  # fmt: skip
        """What the loop takes, watched where a profile was asked for."""
        wanted = requested_profile(self.config.train_dir) if reports else None
        if reports is None or wanted is None:
            return engine, steps, [hook for some in hooks.values() for hook in some]
        profiler = Profiler(
            wanted, progress.step, self.config, self.data.micro_batches, self.rank, self.environment["threads"],
            Rates(lambda: reports.line.flops_of_step, reports.line.peak), reports.line.say,
        )  # fmt: skip
        return profiler.watch(engine, steps, hooks)

    def _roll_back(self, trouble: Trouble, lineage: Lineage) -> tuple[tuple[Folder, Record] | None, Lineage]:
        """The checkpoint to go back to, and the lineage without the samples in trouble. SpanwrightError to stop."""
        found = agree_on_checkpoint(self.store, self.rank, self._say)
        record = found[1] if found else None
        without = lineage_without(trouble, record, lineage, self.config)
        added = without.skipped[len(lineage.skipped) :]
        step, samples = record.step if record else 0, [added[0].start, added[-1].stop]
        self.history.add("rollback", step, reason=str(trouble), skipped=samples)
        self._say(f"{trouble}: back to step {step}, without samples {samples[0]} to {samples[1] - 1}")
        return found, without

    def _reports(self, step: int, stack: contextlib.ExitStack) -> Reports | None:
        config, training = self.config, self.config.training
        if not self.rank.is_first:
            return None
        line = ProgressLine(self.output, training.steps, step, training.log_every, self.peak)
        reports = Reports(config.train_dir, step, line, self.history, self.data.tokenizer, training.log_every)
        stack.callback(reports.close)
        return reports

    def _find_peak(self) -> Peak:
        """As given, or measured now, before the loader's workers start and are busy. Collective."""
        training = self.config.training
        if training.peak_tflops:
            return Peak(training.peak_tflops * 1e12)
        return MeasuredPeak(self.rank.device, torch.bfloat16 if training.precision == "bf16" else torch.float32)

    def _write_result(self, progress: Progress, state: TrainingState, evaluation: Evaluation, saving: Saving) -> None:
        weight_hash = hash_weights(state.masters())
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
            "skipped_samples": sum(samples.stop - samples.start for samples in saving.lineage.skipped),
        }
        publish([staged_bytes(self.config.train_dir / RESULT, (json.dumps(result, indent=1) + "\n").encode())])
        self.history.add("done", progress.step)

    def _say(self, text: str) -> None:
        if self.rank.is_first:
            print(indented(text), file=self.output, flush=True)
