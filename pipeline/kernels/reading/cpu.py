"""The C++ kernel's Python side: builds and loads it, keeps the addresses of a block's arrays, owns the text."""

import ctypes
import functools
from collections.abc import Iterator, Sequence
from ctypes import Structure, c_int64, c_uint32, c_void_p
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from data_prep import native
from data_prep.shards.packing import Windows
from pipeline.corruption.philox import Key
from pipeline.corruption.pieces import Pieces
from pipeline.permutation import ROUNDS, round_keys, sides

SOURCE = Path(__file__).with_name("cpu.cpp")
_ARRAYS = 4  # tokens and a plan's three, before the columns
_WINDOW_WORDS, _PIECE_WORDS = 2, 3  # of the kernel's scratch
_SLAB_WORDS = 2**13  # 64 KiB, which come from the heap: larger blocks would be new pages each time


class _Order(Structure):
    _fields_ = (
        *((name, c_int64) for name in ("size", "side_a", "side_b")),
        ("round_keys", c_uint32 * ROUNDS),
        ("first_windows", c_void_p),
        ("num_chunks", c_int64),
        ("held", c_void_p),
        *((name, c_int64) for name in ("token_bytes", "num_columns", "halves")),
    )


class _Room(Structure):
    _fields_ = (
        *((name, c_int64) for name in ("tokens", "offsets", "samples", "sample_offsets", "positions")),
        *((name, c_int64) for name in ("columns", "column_bytes")),
        *((name, c_void_p) for name in ("windows", "pieces")),
    )


@functools.cache
def library() -> ctypes.CDLL | None:
    """The compiled kernel; None without a compiler."""
    loaded = native.load(SOURCE)
    if loaded is not None:
        loaded.reading_gather.argtypes = (c_void_p, c_int64, c_int64, c_int64, c_void_p, c_void_p)
        loaded.reading_gather.restype = c_int64
    return loaded


class Shape(NamedTuple):
    """What the windows of a stream have in common."""

    window: int
    """The most tokens of one."""
    max_sequences: int
    """The most pieces of one, after `halves`."""
    halves: bool
    """Each piece becomes two, its first half and its rest."""
    dtype: npt.DTypeLike
    columns: tuple[str, ...]


class _Memory(NamedTuple):
    """How the text of so many samples lies in a block of 64-bit words: tokens, then the numbers, then columns."""

    words: int
    places: _Room
    offsets: int
    samples: int
    sample_offsets: int
    positions: int
    end: int
    scratch: npt.NDArray[np.int64]

    @classmethod
    def of(cls, count: int, shape: Shape) -> "_Memory":
        """Room for the text of `count` samples."""
        most = count * shape.max_sequences
        sizes = (_words(count * shape.window * np.dtype(shape.dtype).itemsize), most + 1, most, count + 1, count)
        offsets, samples, sample_offsets, positions, end = np.cumsum(sizes).tolist()
        column = _words(count * shape.window)
        scratch = np.empty(_WINDOW_WORDS * count + _PIECE_WORDS * most, np.int64)
        free = scratch.ctypes.data
        places = _Room(
            0, 8 * offsets, 8 * samples, 8 * sample_offsets, 8 * positions, 8 * end, 8 * column,
            free, free + 8 * _WINDOW_WORDS * count,
        )  # fmt: skip
        words = end + column * len(shape.columns)
        return cls(words, places, offsets, samples, sample_offsets, positions, end, scratch)

    def text(self, memory: npt.NDArray[np.int64], num_pieces: int, shape: Shape) -> Pieces:
        """The text that the kernel has put there."""
        num_tokens = int(memory[self.offsets + num_pieces])
        columns: dict[str, npt.NDArray[np.uint8]] = {}
        if shape.columns:
            narrow, first, step = memory.view(np.uint8), self.places.columns, self.places.column_bytes
            starts = range(first, first + step * len(shape.columns), step)
            columns = {name: narrow[at : at + num_tokens] for name, at in zip(shape.columns, starts, strict=True)}
        pieces = object.__new__(Pieces)  # the __init__ of a frozen dataclass takes a tenth of the whole call
        vars(pieces).update(
            tokens=memory.view(shape.dtype)[:num_tokens],
            offsets=memory[self.offsets : self.offsets + num_pieces + 1],
            samples=memory[self.samples : self.samples + num_pieces],
            sample_offsets=memory[self.sample_offsets : self.positions],
            positions=memory[self.positions : self.end],
            columns=columns,
        )
        return pieces


def _words(num_bytes: int) -> int:
    return -(-num_bytes // 8)


def _rooms(num_words: int) -> Iterator[tuple[npt.NDArray[np.int64], int]]:
    """Memory for one text after another, each with its address; NumPy is asked for that of several at once, since
    telling an address takes it as long as the kernel takes for the text of a micro-batch."""
    size = max(1, _SLAB_WORDS // num_words) * num_words
    while True:
        slab = np.empty(size, np.int64)
        address = slab.ctypes.data
        for start in range(0, size, num_words):
            yield slab[start : start + num_words], address + 8 * start


class HeldBlock:
    """The chunks of one block: `first_windows` [chunks + 1] counts their windows, those that are held have addresses.

    Without a `key` the windows stand in their own order.
    """

    def __init__(self, first_windows: npt.NDArray[np.int64], key: Key | None, shape: Shape) -> None:
        self._shape = shape
        self._first_windows = np.ascontiguousarray(first_windows, np.int64)
        self._held = np.zeros((len(first_windows) - 1, _ARRAYS + len(shape.columns)), np.int64)
        self._kept: dict[int, tuple[Any, ...]] = {}
        size = int(first_windows[-1])
        a, b = (0, 0) if key is None else sides(size)
        self._order = _Order(
            size, a, b, (c_uint32 * ROUNDS)(*(() if key is None else round_keys(key))),
            self._first_windows.ctypes.data, len(self._held), self._held.ctypes.data,
            np.dtype(shape.dtype).itemsize, len(shape.columns), shape.halves,
        )  # fmt: skip
        self._address = ctypes.addressof(self._order)
        # By the number of samples: how their text lies, the address of its places, and memory for it.
        self._memories: dict[int, tuple[_Memory, int, Iterator[tuple[npt.NDArray[np.int64], int]]]] = {}

    def hold(self, chunk: int, tokens: np.ndarray, plan: Windows, columns: Sequence[np.ndarray]) -> None:
        """Give the kernel a chunk of the block; its arrays are kept with it."""
        plans = [np.ascontiguousarray(a, np.int32) for a in (plan.piece_starts, plan.piece_stops, plan.window_offsets)]
        arrays = (np.ascontiguousarray(tokens, self._shape.dtype), *plans, *map(np.ascontiguousarray, columns))
        assert all(column.dtype == np.uint8 for column in columns), "columns of a stream are small numbers"
        self._held[chunk] = [array.ctypes.data for array in arrays]
        self._kept[chunk] = arrays

    def drop(self, chunk: int) -> None:
        """Forget a chunk that is held."""
        self._held[chunk] = 0
        del self._kept[chunk]

    def gather(self, rank: int, position: int, count: int) -> Pieces | int:
        """The text of the samples [rank, rank + count) of the block, the run's from `position` on; or a chunk that
        has to be held for it."""
        loaded = library()
        assert loaded is not None, "there is a kernel"
        if count not in self._memories:
            layout = _Memory.of(count, self._shape)
            self._memories[count] = layout, ctypes.addressof(layout.places), _rooms(layout.words)
        layout, places, rooms = self._memories[count]
        memory, address = next(rooms)
        found: int = loaded.reading_gather(self._address, rank, position, count, address, places)
        return -1 - found if found < 0 else layout.text(memory, found, self._shape)
