"""One rank that carries out many trainings in one process group: `sessions_rank.py JOBS.json REPORTS`.

A start of DeepSpeed costs more than a small training, so the tests of many configurations share one. A job is an
object:

    run_dir     the run folder; a job goes on from its newest checkpoint, as a start of its own would
    training    fields of the config's `training:` section to change
    stop_after  steps after which somebody asks it to stop (it saves and leaves)
    drop_newest remove the newest checkpoint before it starts, as if the run had died before that save
    shift       read every sample so many positions later (a run that resumed wrongly)
    skip        [start, stop) of samples that are left out from the start
    break       [position, factor]: the loss of the micro-batch with this sample is multiplied by the factor
    break_gradient  position: the gradient of the micro-batch with this sample is not a number, its loss is as ever

REPORTS/rank-N.json has, by job: its outcome, the step it went on from, what of the restored state is not that of the
checkpoint's files, and position and digest of every sample, in the order of reading.
"""

import contextlib
import json
import math
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

sys.path.insert(0, str(Path(__file__).parent))

import torch.distributed as dist
from observed_rank import sample_digests, state_differences

import pipeline.training.run as run
from data_prep.errors import SpanwrightError
from pipeline.batch import MicroBatch
from pipeline.checkpoint.format import Record
from pipeline.checkpoint.load import saved_steps
from pipeline.checkpoint.state import TrainingState
from pipeline.checkpoint.store import Folder
from pipeline.config import RunConfig, load_run
from pipeline.training.assembly import open_data
from pipeline.training.engine import Engine
from pipeline.training.loader import RankPositions
from pipeline.training.rank import Rank, join_process_group, rank_from_environment, set_threads
from pipeline.training.stopping import StopRequest


class StopAfter(StopRequest):
    """Asks to stop at the beginning of the step after `steps`."""

    def __init__(self, steps: int | None) -> None:
        super().__init__(None)
        self._left = -1 if steps is None else steps

    @property
    def reason(self) -> str | None:
        self._left -= 1
        return "the test" if self._left == -1 else None


class Watch:
    """Stands between a training and its parts for the time of one job."""

    def __init__(self, job: dict[str, Any]) -> None:
        self._job = job
        self.report: dict[str, Any] = {"restored": [], "differences": [], "samples": []}
        self._restore_state, self._load_steps = run.restore_state, run.load_steps
        self._forward, self._first_of = Engine.forward, RankPositions.first_of

    def patches(self) -> Iterator[Any]:
        yield mock.patch.object(run, "restore_state", self._restoring)
        yield mock.patch.object(run, "load_steps", self._loading)
        if "shift" in self._job:
            shift = self._job["shift"]
            yield mock.patch.object(RankPositions, "first_of", lambda this, step: self._first_of(this, step) + shift)
        if "skip" in self._job:
            start, stop = self._job["skip"]
            yield mock.patch.object(run.Lineage, "skipped_ranges", [(start, stop)])
        if "break" in self._job:
            yield mock.patch.object(Engine, "forward", self._breaking(*self._job["break"]))
        if "break_gradient" in self._job:
            yield mock.patch.object(Engine, "forward", self._breaking(self._job["break_gradient"], 1.0, math.nan))

    def _restoring(self, folder: Folder, record: Record, state: TrainingState) -> None:
        self._restore_state(folder, record, state)
        self.report["restored"].append(record.step)
        self.report["differences"] += state_differences(Path(str(folder)), record, state, state._engine)

    def _loading(self, *arguments: Any) -> Iterator[list[MicroBatch]]:
        for micro_batches in self._load_steps(*arguments):
            self.report["samples"] += [sample for batch in micro_batches for sample in sample_digests(batch)]
            yield micro_batches

    def _breaking(self, position: int, factor: float, of_gradient: float = 1.0) -> Callable[..., Any]:
        def forward(engine: Engine, views: Any) -> Any:
            terms = self._forward(engine, views)
            broken = any(bool((view.sample_positions == position).any()) for view in views.values())
            if not broken or not engine.module.training:
                return terms
            for total, _ in terms.values():
                total.register_hook(lambda gradient: gradient * of_gradient)
            return {name: (total * factor, count) for name, (total, count) in terms.items()}

        return forward


def changed(config: RunConfig, job: dict[str, Any]) -> RunConfig:
    training = {**config.training.model_dump(mode="json"), **job.get("training", {})}
    return RunConfig.model_validate({**config.model_dump(mode="json"), "training": training})


def carry_out(job: dict[str, Any], rank: Rank, threads: int) -> dict[str, Any]:
    config = changed(load_run(Path(job["run_dir"])), job)
    if job.get("drop_newest") and rank.is_first:
        shutil.rmtree(Path(config.checkpoints) / f"step-{saved_steps(config.checkpoints)[0]:08d}")
    dist.barrier()
    watch = Watch(job)
    with contextlib.ExitStack() as stack:
        for patch in watch.patches():
            stack.enter_context(patch)
        session = run.Session(config, open_data(config), rank, threads, StopAfter(job.get("stop_after")), sys.stdout)
        try:
            session.run()
            outcome = "done"
        except SpanwrightError as error:
            outcome = f"{type(error).__name__}: {error}"
    return {"outcome": outcome, **watch.report}


def main(jobs: Path, reports: Path) -> None:
    rank = rank_from_environment()
    threads = set_threads(rank, 1)
    join_process_group(rank)
    done = [carry_out(job, rank, threads) for job in json.loads(jobs.read_text(encoding="utf-8"))]
    (reports / f"rank-{rank.index}.json").write_text(json.dumps(done), encoding="utf-8")
    dist.barrier()
    os._exit(0)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
