"""How long parts of a step take on a device, without waiting for the device while they run."""

import contextlib
import time
from collections.abc import Iterator

import torch


class Stopwatch:
    """Adds up the time of its blocks: by events where the device works on its own, else by the clock."""

    def __init__(self, device: torch.device) -> None:
        self._cuda = device.type == "cuda"
        self._seconds = 0.0
        self._events: list[tuple[torch.cuda.Event, torch.cuda.Event]] = []

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """The time of this block counts."""
        if self._cuda:
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            start.record()
            yield
            end.record()
            self._events.append((start, end))
        else:
            started = time.perf_counter()
            yield
            self._seconds += time.perf_counter() - started

    def take(self) -> float:
        """Seconds since the last call; the device must be done with the blocks, or it is waited for."""
        seconds, events = self._seconds, self._events
        self._seconds, self._events = 0.0, []
        if events:
            events[-1][1].synchronize()
        return seconds + sum(start.elapsed_time(end) for start, end in events) / 1000
