"""Signs of life: each rank leaves its step and timings in RUN/train/beats/rank-N.json, about once a second.

The launcher reads them to tell a hang, `spanwright status` to tell where a run is, rank 0 to name a slow rank.
`own_seconds` is the time of a step that a rank needs whatever the others do (its data and its forward passes): ranks
wait for one another in the rest, so the whole step takes equally long on all of them.

Where no launcher of ours reads them, as under torchrun, a rank watches itself (SPANWRIGHT_HANG_SECONDS).
"""

import faulthandler
import json
import os
import socket
import statistics
import sys
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from pipeline.training.loop import StepReport

HANG_SECONDS = "SPANWRIGHT_HANG_SECONDS"
_EVERY_SECONDS = 1.0
_REMEMBERED_STEPS = 20


class Beat(NamedTuple):
    """What a rank said last. Durations are medians over recent steps."""

    rank: int
    host: str
    pid: int
    step: int
    step_seconds: float
    own_seconds: float
    data_wait: float
    """Share of the step."""
    time: float
    """Seconds since the epoch, by the rank's clock."""


class Heartbeat:
    """A hook: this rank's beat after a step, when the last one is old enough."""

    def __init__(self, folder: Path, rank: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._path, self._rank = folder / f"rank-{rank}.json", rank
        self._steps: deque[tuple[float, float, float]] = deque(maxlen=_REMEMBERED_STEPS)
        self._next = 0.0
        self._step = 0

    def __call__(self, report: StepReport) -> None:
        """After a training step."""
        self._steps.append((report.seconds, report.own_seconds, report.data_wait_seconds / report.seconds))
        self._step = report.progress.step
        if time.monotonic() >= self._next:
            self.write()

    def write(self) -> None:
        """Say how far this rank is (the name is replaced at once: a reader sees a whole beat or the one before)."""
        step, own, wait = (
            statistics.median(values) for values in zip(*(self._steps or [(0.0, 0.0, 0.0)]), strict=True)
        )
        beat = Beat(self._rank, socket.gethostname(), os.getpid(), self._step, step, own, wait, time.time())
        temporary = self._path.with_suffix(".tmp")
        temporary.write_text(json.dumps(beat._asdict()), encoding="utf-8")
        os.replace(temporary, self._path)
        self._next = time.monotonic() + _EVERY_SECONDS


class Watchdog:
    """A hook: this rank ends, its stacks in its log, when a step is not followed by another within so many seconds.

    The clock runs outside Python: it reaches a rank that waits in a collective for others that are gone.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def __call__(self, report: StepReport) -> None:
        """After a training step."""
        faulthandler.dump_traceback_later(self._seconds, exit=True, file=sys.stderr)

    @staticmethod
    def close() -> None:
        """Training has ended."""
        faulthandler.cancel_dump_traceback_later()


def read_beats(folder: Path) -> list[Beat]:
    """Every rank's last beat, by rank."""
    return sorted(_readable(folder))


def _readable(folder: Path) -> Iterator[Beat]:
    for path in folder.glob("rank-*.json"):
        try:
            yield Beat(**json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):  # removed meanwhile, or another version's
            continue
