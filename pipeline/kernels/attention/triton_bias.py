"""The bias's gradient in Triton, without atomics: a tile of queries sums its share over all blocks of keys it visits.

- contiguous positions: sums of diagonals. Row i of a tile [Q, K] is rotated left by i, so that column c holds the
  relative positions c and c - K (plus the tile's own), and each is a sum over rows. A block's second sum lies where the
  block before has its first: the two together are all the tile has at those relative positions, written once.
- given positions: for every index between the tile's least and greatest, the sum of where it occurs. Slower, the more
  relative positions a tile has.

Shape suffixes: Q queries and K keys of a tile, R values of the bias (rounded up to a power of two).
"""

import triton
import triton.language as tl

from pipeline.kernels.attention.triton_tiles import LARGEST, LEAST


@triton.jit
def diagonals(grads, QUERIES: tl.constexpr, KEYS: tl.constexpr):
    """Sums [K] over the elements (row, row + c), for c from 0, and over (row, row + c - K)."""
    tl.static_assert(QUERIES == KEYS, "a row is rotated once at most")
    place_QK = tl.arange(0, KEYS)[None, :] + tl.arange(0, QUERIES)[:, None]
    rotated_QK = tl.gather(grads, place_QK % KEYS, 1)
    return tl.sum(tl.where(place_QK < KEYS, rotated_QK, 0.0), 0), tl.sum(tl.where(place_QK < KEYS, 0.0, rotated_QK), 0)


@triton.jit
def store_diagonals(share, first_difference, sum_K, low, high, reach, KEYS: tl.constexpr):
    """Relative positions within the reach have a value of their own, stored; the others add to the two ends' sums."""
    difference_K = first_difference + tl.arange(0, KEYS)
    tl.store(share + difference_K + reach, sum_K, mask=(difference_K > -reach) & (difference_K < reach))
    is_low_K = difference_K <= -reach
    low += tl.sum(tl.where(is_low_K, sum_K, 0.0))
    high += tl.sum(tl.where((difference_K >= reach) & (is_low_K == 0), sum_K, 0.0))
    return low, high


@triton.jit
def add_by_index(share_R, grads, index, visible, VALUES: tl.constexpr):
    """`share_R` plus the sum of `grads` where each index occurs."""
    values_R = tl.arange(0, VALUES)
    first = tl.min(tl.where(visible, index, LARGEST))
    last = tl.max(tl.where(visible, index, LEAST))
    for value in range(first, last + 1):
        share_R += tl.where(values_R == value, tl.sum(tl.where(index == value, grads, 0.0)), 0.0)
    return share_R
