"""Random choices for many units at once, from stateless bits and integer arithmetic alone.

A *unit* is what is drawn for: a raw token of a sample's window. Every draw of a unit has a *purpose*, so two purposes
of one unit are independent. Nothing here uses floating point at draw time: probabilities are 32-bit thresholds, ranges
use multiply-high, lengths come from integer tables (tables.py), and every selection is "the k units with the smallest
(key, index)". So NumPy, C++ and Triton give the same bits by construction.

Unit u of the sample at `position` takes, for a purpose, word u % 4 of the Philox block at counter
(u // 4, purpose, position low, position high): one block serves four neighbouring units.

Shape suffixes: U units of all samples or segments, one after another; B samples; G segments of units.
"""

from enum import IntEnum

import numpy as np
import numpy.typing as npt

from pipeline.corruption.philox import Key, UInt32Array, philox4x32

Int64Array = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

_WORDS = 4
_LOW_32 = np.uint64(0xFFFFFFFF)
_SHIFT_32 = np.uint64(32)


class Purpose(IntEnum):
    """What a unit's bits decide. Numbers are part of the data order: never renumber, only append."""

    SELECT = 0
    LENGTH = 1
    REPLACE = 2
    RANDOM_TOKEN = 3
    ORDER = 4


def offsets_of(lengths: npt.ArrayLike) -> Int64Array:
    """Boundaries [G + 1] int64 of runs with these `lengths` [G], laid one after another."""
    offsets = np.zeros(len(np.asarray(lengths)) + 1, np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return offsets


def indices_within(offsets: Int64Array) -> Int64Array:
    """For runs with boundaries `offsets` [G + 1]: the index of each element within its own run, [U] int64."""
    return np.arange(offsets[-1], dtype=np.int64) - np.repeat(offsets[:-1], np.diff(offsets))


def unit_bits(key: Key, positions: Int64Array, counts: Int64Array, purpose: int) -> UInt32Array:
    """32 uniform bits for each of `counts[b]` units of the sample at `positions[b]`, one sample after another.

    `positions` and `counts` are [B] int64; returns [U] uint32. What a unit gets depends on key, position, purpose and
    its index in the sample alone.
    """
    block_offsets = offsets_of(-(-counts // _WORDS))
    num_blocks = np.diff(block_offsets)
    position = np.repeat(positions.astype(np.uint64), num_blocks)
    counter = np.empty((block_offsets[-1], 4), np.uint32)
    counter[:, 0] = indices_within(block_offsets)
    counter[:, 1] = purpose
    counter[:, 2] = position & _LOW_32
    counter[:, 3] = position >> _SHIFT_32
    bits = philox4x32(counter, key).reshape(-1)
    unit_offsets = offsets_of(counts)
    return bits[indices_within(unit_offsets) + np.repeat(block_offsets[:-1] * _WORDS, counts)]


def threshold(probability: float) -> int:
    """The 32-bit threshold t in [0, 2**32] with `happens(bits, t)` true at `probability` (0 and 1 are exact)."""
    if not 0.0 <= probability <= 1.0:
        raise ValueError(f"probability {probability} is outside [0, 1]")
    return round(probability * 2**32)


def happens(bits: UInt32Array, limit: int) -> BoolArray:
    """Whether an event with 32-bit threshold `limit` happens, for each of `bits`."""
    return bits.astype(np.uint64) < np.uint64(limit)


def in_range(bits: UInt32Array, size: npt.ArrayLike) -> Int64Array:
    """A number in [0, size) for each of `bits`: the high word of bits * size (size <= 2**32, broadcast)."""
    return ((bits.astype(np.uint64) * np.asarray(size, np.uint64)) >> _SHIFT_32).astype(np.int64)


def order_by_key(keys: UInt32Array, offsets: Int64Array) -> Int64Array:
    """The units of each segment by ascending (key, index): a uniform permutation of every segment.

    `keys` [U] uint32, segment g is `offsets[g]:offsets[g + 1]` of [G + 1] int64; returns flat unit indices [U] int64.
    """
    lengths = np.diff(offsets)
    index_bits = int(lengths.max(initial=1) - 1).bit_length()
    segment_bits = max(len(lengths) - 1, 0).bit_length()
    assert index_bits + segment_bits <= 32, "a micro-batch of more than 2**32 units cannot be ordered at once"
    segment = np.repeat(np.arange(len(lengths), dtype=np.uint64), lengths)
    packed = segment << np.uint64(index_bits + 32)
    packed |= keys.astype(np.uint64) << np.uint64(index_bits)
    packed |= indices_within(offsets).astype(np.uint64)
    packed.sort()
    within = (packed & np.uint64((1 << index_bits) - 1)).astype(np.int64)
    return within + np.repeat(offsets[:-1], lengths)


def smallest_k(keys: UInt32Array, offsets: Int64Array, k: Int64Array) -> BoolArray:
    """Which units are among the `k[g]` with the smallest (key, index) of their segment g.

    `keys` [U] uint32, `offsets` [G + 1] int64, `k` [G] int64; returns [U] bool.
    Every subset of k units is equally likely.
    """
    order = order_by_key(keys, offsets)
    chosen = np.zeros(len(keys), np.bool_)
    chosen[order[indices_within(offsets) < np.repeat(k, np.diff(offsets))]] = True
    return chosen


def padded(values: npt.NDArray, size: int, filler: int, dtype: npt.DTypeLike = np.int32) -> npt.NDArray[np.integer]:
    """`values`, then `filler` up to `size`."""
    whole = np.full(size, filler, dtype)
    whole[: len(values)] = values
    return whole
