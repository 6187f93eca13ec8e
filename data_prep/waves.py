"""A wave: tasks of one kind. Those whose result stands are not run again.

Invariant: a result stands when its record and all files the record lists are there, byte for byte.
"""

import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from data_prep.errors import CorruptionError
from data_prep.plan import SMALLEST_AUTO_SPLIT
from data_prep.progress import Progress
from data_prep.shards import ShardEntry, canonical
from data_prep.tasks import PassTask, Task, TrainTask, perform
from data_prep.work import WorkFolder, result_digest

QUICK_BYTES = SMALLEST_AUTO_SPLIT  # of input

Record = dict[str, Any]
TaskFunction = Callable[[Any, WorkFolder], Record]


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
    """Runs waves, takes their time (`seconds`, by kind) and remembers whose results were used (`used`, ids).

    `start_workers` is called before the first wave that is worth it; what it takes is nobody's time but its own.
    `on_shards` is called with the folder and entries of each task that has written final shards, while others run.
    """

    def __init__(
        self,
        work: WorkFolder,
        run_tasks: RunTasks,
        progress: Progress,
        start_workers: Callable[[], None] | None,
        on_shards: Callable[[Path, Iterable[ShardEntry]], None],
    ) -> None:
        self.seconds: dict[str, float] = {}
        self.used: set[str] = set()
        self._work, self._run_tasks, self._progress = work, run_tasks, progress
        self._start_workers, self._on_shards = start_workers, on_shards

    def run(self, wave: Sequence[Task]) -> list[Record]:
        """The records of tasks of one kind, in order, after running those that do not stand."""
        if not wave:
            return []
        kind = wave[0].kind
        with self.timed(kind):
            found = self._standing(wave)
        records = {task.id: record for task, record in zip(wave, found, strict=True) if record is not None}
        missing = [task for task in wave if task.id not in records]
        if missing:
            if not is_quick(missing):
                self._start()
            with self.timed(kind):
                self._run_missing(missing, records)
        self.used |= records.keys()
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

    def _start(self) -> None:
        if self._start_workers is not None:
            self._progress.start("start workers", 0)
            with self.timed("start workers"):
                self._start_workers()
            self._progress.finish()
            self._start_workers = None

    def _run_missing(self, missing: Sequence[Task], records: dict[str, Record]) -> None:
        def on_done(task: Task, record: Record) -> None:
            # As it will be read again: what a later run does with a record cannot depend on where it came from.
            records[task.id] = canonical.decode(canonical.encode(record))
            self._progress.advance(task.size, *_counts(task, record))
            if "shards" in record:
                self._on_shards(self._work.folder(task.id), shard_entries(record).values())

        self._progress.start(_shown(missing[0]), sum(task.size for task in missing))
        self._run_tasks(perform, missing, self._work, on_done)
        self._progress.finish()

    def _standing(self, wave: Sequence[Task]) -> list[Record | None]:
        records = [self._work.record(task.id) for task in wave]
        if not any(records):  # threads take longer to start than that took
            return records
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            return list(pool.map(self._if_it_stands, wave, records))

    def _if_it_stands(self, task: Task, record: Record | None) -> Record | None:
        return record if record is not None and _files_stand(self._work.folder(task.id), record) else None


def is_quick(wave: Sequence[Task]) -> bool:
    """Whether a wave is one small task: done in less time than it takes to start workers."""
    [first, *others] = wave
    unit = not isinstance(first, TrainTask) or len(first.samples) == 1
    return not others and unit and first.size <= QUICK_BYTES


def shard_entries(record: Record) -> dict[str, ShardEntry]:
    """The shards that a task wrote, by split."""
    return {split: ShardEntry.model_validate(entry) for split, entry in record["shards"].items()}


def _files_stand(folder: Path, record: Record) -> bool:
    return all(_has_digest(folder / name, digest) for name, digest in record["files"].items())


def _has_digest(path: Path, digest: str) -> bool:
    if not path.is_file() or path.is_symlink():
        return False
    try:
        return result_digest(path) == digest
    except CorruptionError:
        return False


def _shown(task: Task) -> str:
    """What the progress calls a wave."""
    if isinstance(task, PassTask):
        stages = [stage.kind for stage in task.stages]
        return ", ".join(["read", *stages] if task.number == 1 else stages)
    return {"train": "train tokenizer"}.get(task.kind, task.kind.replace("-", ": "))


def _counts(task: Task, record: Record) -> tuple[int, int, int]:
    """Documents, tokens and errors (documents that could not be read) of a task's result, as far as it has any."""
    shards = [*record.get("shards", {}).values(), *record.get("chunks", {}).values()]
    num_documents = record.get("documents", 0) + sum(shard["documents"] for shard in shards)
    num_errors = sum(row["count"] for row in record.get("bad", {}).values())
    return num_documents, sum(shard["tokens"] for shard in shards), num_errors
