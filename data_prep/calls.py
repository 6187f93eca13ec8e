"""What a call hands to a worker process: one task, or several where they are so short that the call would count.

Invariant: which tasks share a call changes no byte and no record.
"""

import functools
import gc
import time
from collections.abc import Sequence
from pathlib import Path

from data_prep.errors import SpanwrightError
from data_prep.shards.files import named_errors
from data_prep.tasks import Task
from data_prep.waves import Record, TaskFunction
from data_prep.work import WorkFolder

CALL_SECONDS = 0.2  # of work in a call of several tasks: Ray takes two milliseconds for each
COLLECTED_OBJECTS = 100_000  # made and not released, between two looks of the garbage collector (Python: 700)


class Waiting:
    """Tasks that wait for a call, in order. How many one call takes follows from how long they took until now."""

    def __init__(self, tasks: Sequence[Task], num_workers: int) -> None:
        self._tasks, self._num_workers = list(reversed(tasks)), num_workers
        self._seconds = CALL_SECONDS  # of a task

    def __bool__(self) -> bool:
        return bool(self._tasks)

    def take(self) -> list[Task]:
        """The tasks of the next call: work for CALL_SECONDS, while enough is left for all workers."""
        count = int(min(CALL_SECONDS / self._seconds, len(self._tasks) / (2 * self._num_workers)))
        return [self._tasks.pop() for _ in range(max(count, 1))]

    def took(self, seconds: float) -> None:
        """A task took so long."""
        self._seconds = max((self._seconds + seconds) / 2, 1e-4)


def execute(function: TaskFunction, task: Task, root: Path) -> Record | SpanwrightError:
    """`run_task` in a worker process."""
    _settle_objects()
    return run_task(function, task, root)


def execute_all(
    function: TaskFunction, tasks: Sequence[Task], root: Path
) -> tuple[list[Record | SpanwrightError], float]:
    """`execute` for tasks one after another, up to the first error; and the seconds that took."""
    began = time.monotonic()
    results: list[Record | SpanwrightError] = []
    for task in tasks:
        results.append(execute(function, task, root))
        if isinstance(results[-1], SpanwrightError):
            break
    return results, time.monotonic() - began


def run_task(function: TaskFunction, task: Task, root: Path) -> Record | SpanwrightError:
    """Run one task in this process and declare it done; errors meant for the user come back as values."""
    work = WorkFolder(root)
    try:
        with named_errors(work.folder(task.id), "write"):
            record = function(task, work)
        work.save_record(task.id, record)
    except SpanwrightError as error:
        return type(error)(*error.args)  # without the traceback, which a value cannot carry
    return record


@functools.cache
def _settle_objects() -> None:
    """Once per process: what is loaded stays, and documents are in no cycles: hardly anything is left to collect."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(COLLECTED_OBJECTS)
