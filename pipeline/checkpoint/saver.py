"""Saving beside training: the training thread copies the state, a thread of every rank writes it.

Invariant: at most one save is being written. The next one waits for it, so does `finish`, and a failure is raised by
whichever of the two comes first, on every rank; `failed` lets the ranks agree to stop before that.

The writing threads of the ranks talk through a process group of their own, so they never come between training's calls.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch.distributed as dist

from data_prep.errors import SpanwrightError
from pipeline.checkpoint.config import CheckpointConfig
from pipeline.checkpoint.format import Record
from pipeline.checkpoint.rng import capture_generators
from pipeline.checkpoint.save import owned_files, write_checkpoint
from pipeline.checkpoint.state import TrainingState
from pipeline.checkpoint.store import Store
from pipeline.training.rank import Rank


@dataclass(frozen=True)
class Saved:
    """A save that is done: how long training waited for it, and how long it took altogether."""

    step: int
    stall_seconds: float
    seconds: float


class Saver:
    """The saves of one rank. Creating one is collective, as are `save` and `finish`."""

    def __init__(self, store: Store, rank: Rank, config: CheckpointConfig) -> None:
        self._store, self._rank, self._config = store, rank, config
        self._group = dist.new_group(backend="gloo")
        self._writing: _Writing | None = None

    @property
    def failed(self) -> bool:
        """Whether a save has failed that `finish` will raise."""
        return self._writing is not None and self._writing.error is not None

    def save(self, record: Record, state: TrainingState) -> Saved | None:
        """Start to save the state as it is now; returns the save before this one, if it was still being written.

        With `background: false` the checkpoint is there when this returns, and it is the one returned.
        """
        started = time.perf_counter()
        before = self.finish()
        generators = capture_generators()
        owned = owned_files(state, self._rank)
        if self._config.background:
            owned = iter(list(owned))  # the snapshot

        def write() -> None:
            write_checkpoint(self._store, record, owned, generators, self._rank, self._config, self._group)

        self._writing = _Writing(record.step, started, write)
        if self._config.background:
            self._writing.start()
        else:
            self._writing.run()
        self._writing.stall_seconds = time.perf_counter() - started
        return before if self._config.background else self.finish()

    def poll(self) -> Saved | None:
        """The save that has just been done, once; None while it goes on or when it failed. Waits for nothing."""
        if self._writing is None or not self._writing.done or self._writing.error is not None:
            return None
        return self.finish()

    def finish(self) -> Saved | None:
        """Wait for the save that is being written, if there is one, and return it; SpanwrightError if it failed."""
        writing, self._writing = self._writing, None
        if writing is None:
            return None
        if writing.is_alive():
            writing.join()
        if writing.error is not None:
            raise writing.error
        return Saved(writing.step, writing.stall_seconds, writing.seconds)


class _Writing(threading.Thread):
    """One save being written."""

    def __init__(self, step: int, started: float, write: Callable[[], None]) -> None:
        super().__init__(name=f"checkpoint of step {step}", daemon=True)
        self.step, self.stall_seconds, self.seconds = step, 0.0, 0.0
        self.error: SpanwrightError | None = None
        self.done = False
        self._started_at, self._write = started, write

    def run(self) -> None:
        try:
            self._write()
        except SpanwrightError as error:
            self.error = error
        except BaseException as error:
            message = f"the checkpoint of step {self.step} could not be saved: {error or type(error).__name__}"
            self.error = SpanwrightError(message)
            self.error.__cause__ = error
        self.seconds = time.perf_counter() - self._started_at
        self.done = True
