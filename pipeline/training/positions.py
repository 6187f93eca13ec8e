"""Which samples a step reads. No torch here.

A step reads the samples from `first_position(step, ...)` on, as many as the phase that these belong to has in a step;
steps stand one after another, moved on by what the run has skipped before.
"""

from collections.abc import Sequence

from pipeline.checkpoint.format import SkippedSamples
from pipeline.phases import BatchSizes

Skipped = Sequence[tuple[int, int]]
"""[start, stop) of the samples that whole steps would have read, disjoint and sorted."""


def first_position(step: int, sizes: BatchSizes, skipped: Skipped = ()) -> int:
    """The position of the first sample that step `step` (from 0) reads."""
    position, stops = 0, dict(skipped)
    # From one place where something changes to the next: a phase begins, or samples are skipped.
    for change in sorted({*sizes.starts, *stops}):
        steps = (change - position) // sizes.global_batch(position)
        if step < steps:
            break
        position, step = stops.get(change, change), step - steps
    return position + step * sizes.global_batch(position)


def as_ranges(skipped: Sequence[SkippedSamples]) -> list[tuple[int, int]]:
    """[start, stop) of each, sorted."""
    return sorted((samples.start, samples.stop) for samples in skipped)
