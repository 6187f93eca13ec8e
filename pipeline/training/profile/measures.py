"""What a profile measures beside the parts of a step: processors, memory, communication, and the loader's work."""

import os
import resource
import statistics
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from pipeline.training.loader import MicroBatches
from pipeline.training.profile.report import Loading, Machine

RANGE = "training: "  # what the parts of a step are called in a trace
_COMMUNICATION = ("gloo:", "nccl:", "ncclkernel", "nccldevkernel", "mpi:", "ucc:")
_MEASURED_BATCHES = 5
Spans = np.ndarray[Any, Any]  # [n, 2] float64 microseconds, start and stop


class Usage(NamedTuple):
    """Clocks, in seconds since some time."""

    wall: float
    own: float
    """Processor time of this process."""
    all: float
    """Processor time of the machine; 0 where the system does not tell."""

    @classmethod
    def now(cls) -> "Usage":
        """All of them now."""
        return cls(time.perf_counter(), time.process_time(), _busy_seconds())


def machine_between(start: Usage, end: Usage, threads: int, ranks: int, device: torch.device) -> Machine:
    """The machine in the time between, for a rank with so many `threads`, one of `ranks` here."""
    wall, own = end.wall - start.wall, end.own - start.own
    others = max(0.0, (end.all - start.all) - own)
    if device.type == "cuda":
        peak, limit = torch.cuda.max_memory_reserved(device), torch.cuda.get_device_properties(device).total_memory
    else:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        limit = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // ranks
    cores = len(os.sched_getaffinity(0))
    return Machine(threads, cores, ranks, own / wall, others / wall, peak / 2**30, limit / 2**30)


def measure_loading(batches: MicroBatches, first: int, workers: int, masks_on_device: bool) -> Loading:
    """Reading and masking of the micro-batches from position `first` on, one after another in this process."""
    read, mask = [], []
    for number in range(_MEASURED_BATCHES):
        samples = batches.samples(first + number * batches.sizes.micro_batch(first))
        started = time.perf_counter()
        batches.maker.gather(samples)
        gathered = time.perf_counter()
        read.append(gathered - started)
        if not masks_on_device:
            batches.maker.apply(samples)  # reads the text once more
            mask.append(max(0.0, time.perf_counter() - gathered - read[-1]))
    return Loading(workers, statistics.median(read), statistics.median(mask or [0.0]))


def communication_by_part(events: Iterable[Any]) -> tuple[dict[str, float], float]:
    """Seconds of communication within each part of the steps, and altogether; `events` are torch's profiler's."""
    parts: dict[str, list[tuple[float, float]]] = {}
    spans: list[tuple[float, float]] = []
    for event in events:
        span = (event.time_range.start, event.time_range.end)
        if event.name.startswith(RANGE):
            parts.setdefault(event.name.removeprefix(RANGE), []).append(span)
        elif event.name.lower().startswith(_COMMUNICATION):
            spans.append(span)
    union = _union(spans)
    inside = {name: _overlap(union, _union(own)) / 1e6 for name, own in parts.items()}
    return inside, float((union[:, 1] - union[:, 0]).sum()) / 1e6


def _union(spans: Sequence[tuple[float, float]]) -> Spans:
    """Disjoint spans in order, that cover the same time."""
    merged: list[list[float]] = []
    for start, stop in sorted(spans):
        if merged and start <= merged[-1][1]:
            merged[-1][1] = max(merged[-1][1], stop)
        else:
            merged.append([start, stop])
    return np.array(merged, np.float64).reshape(-1, 2)


def _overlap(one: Spans, other: Spans) -> float:
    """How long both last at once."""
    starts = np.maximum(one[:, None, 0], other[None, :, 0])
    stops = np.minimum(one[:, None, 1], other[None, :, 1])
    return float(np.maximum(stops - starts, 0.0).sum())


def _busy_seconds() -> float:
    """Processor time that all processes of the machine have had since it started."""
    try:
        fields = Path("/proc/stat").read_text(encoding="ascii").split("\n", 1)[0].split()[1:]
    except OSError:
        return 0.0
    user, nice, system, _, _, irq, softirq = (int(field) for field in fields[:7])
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")
