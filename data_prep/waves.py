"""A wave: all tasks of one stage. Those whose result stands are not run again.

Invariant: a result stands when its record and everything the record speaks of are there, byte for byte.
"""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from data_prep.plan import TrainTask, UnitTask
from data_prep.progress import Progress
from data_prep.shards import ShardEntry
from data_prep.shards.names import index_path, tar_path
from data_prep.tasks import FUNCTIONS, SAMPLE_NAME
from data_prep.tokenizer.tokenizer import MODEL_NAME
from data_prep.work import WorkFolder, file_digest

Task = UnitTask | TrainTask
Record = dict[str, Any]
TaskFunction = Callable[[Any, WorkFolder], Record]


_SHOWN_AS = {"train": "train tokenizer"}


class RunTasks(Protocol):
    """Runs `function(task, work)` for every task, in any order and place, until it succeeds, and saves its record."""

    def __call__(
        self,
        function: TaskFunction,
        tasks: Sequence[Task],
        work: WorkFolder,
        on_done: Callable[[Task, Record], None],
    ) -> None:
        """Return when every task has its record; raise the SpanwrightError of one that cannot be done."""


class Waves:
    """Runs waves and takes their time (`seconds`, by stage)."""

    def __init__(self, work: WorkFolder, run_tasks: RunTasks, progress: Progress) -> None:
        self.seconds: dict[str, float] = {}
        self._work, self._run_tasks, self._progress = work, run_tasks, progress

    def run(self, wave: Sequence[Task]) -> list[Record]:
        """The records of tasks of one kind, in order, after running those that do not stand."""
        kind = wave[0].kind
        with self.timed(kind):
            found = self._standing(wave)
            records = {task.id: record for task, record in zip(wave, found, strict=True) if record is not None}
            missing = [task for task in wave if task.id not in records]

            def on_done(task: Task, record: Record) -> None:
                records[task.id] = record
                self._progress.advance(task.size, *_counts(record))

            if missing:
                self._progress.start(_SHOWN_AS.get(kind, kind), sum(task.size for task in missing))
                self._run_tasks(FUNCTIONS[kind], missing, self._work, on_done)
                self._progress.finish()
        return [records[task.id] for task in wave]

    def stands(self, task: Task) -> bool:
        """Whether the result of an earlier run is there."""
        return self._standing([task]) != [None]

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Add the time of a block to the stage's `seconds`."""
        started = time.monotonic()
        yield
        self.seconds[stage] = self.seconds.get(stage, 0.0) + time.monotonic() - started

    def _standing(self, wave: Sequence[Task]) -> list[Record | None]:
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            return list(pool.map(self._standing_record, wave))

    def _standing_record(self, task: Task) -> Record | None:
        record = self._work.record(task.id)
        return record if record is not None and _files_stand(task.kind, self._work.folder(task.id), record) else None


def shard_entries(record: Record) -> dict[str, ShardEntry]:
    """The shards that a tokenize task wrote, by split."""
    return {split: ShardEntry.model_validate(entry) for split, entry in record["shards"].items()}


def _files_stand(kind: str, folder: Path, record: Record) -> bool:
    if kind == "sample":
        return (folder / SAMPLE_NAME).is_file()
    if kind == "train":
        return _has_digest(folder / MODEL_NAME, record["digest"])
    if kind == "tokenize":
        return all(
            _has_digest(tar_path(folder, entry.name), entry.sha256)
            and _has_digest(index_path(folder, entry.name), entry.index)
            for entry in shard_entries(record).values()
        )
    return True


def _has_digest(path: Path, digest: str) -> bool:
    return path.is_file() and not path.is_symlink() and file_digest(path) == digest


def _counts(record: Record) -> tuple[int, int]:
    """Documents and tokens of a task's result, as far as it has any."""
    shards = record.get("shards", {}).values()
    num_documents = record.get("documents", 0) + sum(shard["documents"] for shard in shards)
    return num_documents, sum(shard["tokens"] for shard in shards)
