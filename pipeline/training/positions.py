"""Which samples a step reads. No torch here.

Step s (from 0) reads `global_batch` samples from `first_position(s, ...)` on: s * global_batch, moved on by what the
run has skipped before.
"""

from collections.abc import Sequence

from pipeline.checkpoint.format import SkippedSamples

Skipped = Sequence[tuple[int, int]]
"""[start, stop) of the samples that whole steps would have read, disjoint and sorted."""


def first_position(step: int, global_batch: int, skipped: Skipped = ()) -> int:
    """The position of the first sample that step `step` reads."""
    position = step * global_batch
    for start, stop in skipped:
        if start > position:
            break
        position += stop - start
    return position


def as_ranges(skipped: Sequence[SkippedSamples]) -> list[tuple[int, int]]:
    """[start, stop) of each, sorted."""
    return sorted((samples.start, samples.stop) for samples in skipped)
