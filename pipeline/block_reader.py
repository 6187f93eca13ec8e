"""Consecutive samples as the flat arrays that training wants, found and copied in one call.

Invariant: the text is that of the samples one by one. So it is read one by one where the kernel cannot: without a
compiler, over the end of a block, and in blocks of more shards than may be open.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple, overload

import numpy as np

from data_prep.shards.packing import Windows
from pipeline.corruption.philox import Key
from pipeline.corruption.pieces import Pieces, SampleRun, gather_pieces
from pipeline.kernels.reading.cpu import HeldBlock, Shape, library

if TYPE_CHECKING:
    from pipeline.sample import Sample
    from pipeline.stream import Stream


class ChunkArrays(NamedTuple):
    """What is read of a chunk."""

    tokens: np.ndarray
    plan: Windows
    columns: Sequence[np.ndarray]  # uint8 [tokens] each
    num_bytes: int  # of memory: maps of files do not count


class BlockReader:
    """One block. Chunks are loaded at their first touch; the oldest go when they take more than `limit_bytes`."""

    def __init__(self, held: HeldBlock, load: Callable[[int], ChunkArrays], limit_bytes: int) -> None:
        self._held, self._load, self._limit = held, load, limit_bytes
        self._costs: dict[int, int] = {}
        self._total = 0

    def gather(self, rank: int, position: int, count: int) -> Pieces:
        """The text of the samples [rank, rank + count) of the block, which are the run's from `position` on."""
        while isinstance(found := self._held.gather(rank, position, count), int):
            tokens, plan, columns, self._costs[found] = self._load(found)
            self._held.hold(found, tokens, plan, columns)
            self._total += self._costs[found]
        while self._total > self._limit:
            oldest = next(iter(self._costs))
            self._held.drop(oldest)
            self._total -= self._costs.pop(oldest)
        return found


def open_block(
    counts: np.ndarray, key: Key | None, shape: Shape, load: Callable[[int], ChunkArrays], limit_bytes: int
) -> BlockReader | None:
    """The reader of a block whose chunks have `counts` windows [chunks]; None without a kernel."""
    if library() is None:
        return None
    first_windows = np.concatenate([[0], np.cumsum(counts)])
    return BlockReader(HeldBlock(first_windows, key, shape), load, limit_bytes)


class Samples(SampleRun):
    """The samples [first, first + count) of a stream; in the run they stand from `position` on."""

    def __init__(self, stream: "Stream", first: int, count: int, position: int | None = None) -> None:
        self._stream, self._first, self._count = stream, first, count
        self._position = first if position is None else position
        self._made: dict[int, Sample] = {}

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, index: int) -> "Sample": ...

    @overload
    def __getitem__(self, index: slice) -> "list[Sample]": ...

    def __getitem__(self, index: int | slice) -> "Sample | list[Sample]":
        if isinstance(index, slice):
            return [self[number] for number in range(self._count)[index]]
        number = range(self._count)[index]
        if number not in self._made:
            sample = self._stream.sample(self._first + number)
            self._made[number] = dataclasses.replace(sample, position=self._position + number)
        return self._made[number]

    def pieces(self, columns: Sequence[str] = ()) -> Pieces:
        """The text of all, as `gather_pieces` lays it out."""
        found = self._stream.text(self._first, self._count, self._position)
        if found is None:
            return gather_pieces(list(self), columns)
        return found if found.columns.keys() == set(columns) else found.only(columns)
