"""The gradient of a bias by relative position in Triton, without atomics: every program writes into a row of its own.

- contiguous positions, near the diagonal: `backward_bias` walks along diagonals of tiles, adds the tiles up, and only
  the sum is taken apart into its own diagonals. Row i of the tile [Q, K] is rotated left by i, so that column c holds
  the relative positions c and c - K (plus the tile's own), and each is a sum over rows;
- contiguous positions, a tile beyond the reach: one value has it all, which the queries' backward adds up;
- given positions: for every index between the tile's least and greatest, the sum of where it occurs, in the queries'
  backward. Slower, the more relative positions a tile has.

Shape suffixes: Q queries and K keys of a tile, D head dimension, R values of the bias (rounded up to a power of two).
"""

import triton
import triton.language as tl

from pipeline.kernels.attention.triton_scores import (
    DRAWS_PER_HEAD,
    LOG2_E,
    draws_below_apart,
    sees,
    toeplitz,
)
from pipeline.kernels.attention.triton_tiles import LARGEST, LEAST, load_rows, rows_of, visited_diagonal


def num_diagonals(reach: int, tile: int) -> int:
    """How many diagonals of tiles have relative positions within the reach: the middle one and as many on its sides."""
    return 2 * ((reach + tile - 2) // tile) + 1


_NUMBERS = [
    *("num_sequences", "num_queries", "num_heads", "sequences_each", "first_share", "num_shares"),
    *("block_stride", "tile_stride", "bias_stride", "reach", "scale", "keep_low", "keep_high", "keep_threshold"),
    *("dropout_low", "dropout_high", "dropout_threshold", "dropout_scale"),
]


@triton.jit(do_not_specialize=_NUMBERS)
def backward_bias(
    q, k, v, logsumexp, grad_out, delta, bias_shares, first_share, num_shares, sequences_each,
    q_row, q_head, k_row, k_head, v_row, v_head,
    cu_q, cu_k, num_sequences, num_queries, num_heads,
    key_ranks, a_start, a_stop, b_start, b_stop, query_ranks,
    block_ranks, block_stride, tile_intervals, tile_stride,
    keep_rows, keep_positions, keep_low, keep_high, keep_threshold,
    bias, bias_stride, reach, key_scores, scale,
    dropout_rows, dropout_positions, dropout_low, dropout_high, dropout_threshold, dropout_scale,
    SHARING: tl.constexpr, HEAD_DIM: tl.constexpr, WIDTH: tl.constexpr, QUERIES: tl.constexpr, KEYS: tl.constexpr,
    PTX: tl.constexpr,
):  # fmt: skip
    """Write rows `first_share` and on of bias_shares [H, num_shares, R], which come as zeros: a program's sums."""
    chunk, head = tl.program_id(0), tl.program_id(2)
    diagonal = tl.program_id(1) - tl.num_programs(1) // 2
    keep = (keep_rows, keep_positions, keep_low, keep_high, keep_threshold)
    intervals = (a_start, a_stop, b_start, b_stop)
    dropout = (dropout_rows, dropout_positions, dropout_low, dropout_high, dropout_threshold)
    first_value = bias + head * bias_stride + bias_stride // 2 + diagonal * KEYS
    sum_QK = tl.zeros([QUERIES, KEYS], tl.float32)
    kv_head, out_row = head // SHARING, num_heads * HEAD_DIM
    for sequence in range(chunk * sequences_each, tl.minimum((chunk + 1) * sequences_each, num_sequences)):
        first_query, count_queries = rows_of(cu_q, sequence, num_sequences)
        first_key, count_keys = rows_of(cu_k, sequence, num_sequences)
        start = tl.maximum(-diagonal, 0)
        stop = tl.minimum(tl.cdiv(count_queries, QUERIES), tl.cdiv(count_keys, KEYS) - diagonal)
        if block_ranks is not None:
            start, stop = visited_diagonal(
                tile_intervals + first_query // QUERIES + sequence, tile_stride,
                block_ranks + first_key // KEYS + sequence + diagonal, block_stride, start, stop,
            )  # fmt: skip
        for tile in range(start, stop):
            first_row, block = first_query + tile * QUERIES, tile + diagonal
            rows_Q, rows_K = first_row + tl.arange(0, QUERIES), first_key + block * KEYS + tl.arange(0, KEYS)
            mask_Q, mask_K = rows_Q < first_query + count_queries, rows_K < first_key + count_keys
            q_QD = load_rows(q, first_row, q_row, head * q_head, mask_Q, HEAD_DIM, WIDTH)
            k_KD = load_rows(k, first_key + block * KEYS, k_row, kv_head * k_head, mask_K, HEAD_DIM, WIDTH)
            scores = tl.dot(q_QD, tl.trans(k_KD), input_precision="ieee") * (scale * LOG2_E)
            scores += toeplitz(first_value, QUERIES, KEYS, PTX)
            if key_scores is not None:
                scores += tl.load(key_scores + rows_K, mask=mask_K, other=0.0)[None, :] * LOG2_E
            if reach >= 0:  # always: the compiler keeps the registers of a branch apart
                visible = mask_K[None, :]
                if block_ranks is not None:
                    rank_K = tl.load(key_ranks + rows_K, mask=mask_K, other=0)
                    first = block * KEYS
                    visible = visible & sees(keep, intervals, query_ranks, rows_Q, mask_Q, rank_K, mask_K, first)
                scores = tl.where(visible, scores, float("-inf"))
            per_query_Q = head.to(tl.int64) * num_queries + rows_Q
            logsumexp_Q = tl.load(logsumexp + per_query_Q, mask=mask_Q, other=float("inf"))
            delta_Q = tl.load(delta + per_query_Q, mask=mask_Q, other=0.0)
            grad_out_QD = load_rows(grad_out, first_row, out_row, head * HEAD_DIM, mask_Q, HEAD_DIM, WIDTH)
            v_KD = load_rows(v, first_key + block * KEYS, v_row, kv_head * v_head, mask_K, HEAD_DIM, WIDTH)
            grads = tl.dot(grad_out_QD, tl.trans(v_KD), input_precision="ieee")
            if dropout_rows is not None:
                dropped = draws_below_apart(dropout, rows_Q, mask_Q, head * DRAWS_PER_HEAD + block * KEYS, KEYS)
                grads = tl.where(dropped, 0.0, grads * dropout_scale)
            weights = tl.exp2(scores - logsumexp_Q[:, None])
            sum_QK += weights * (grads - delta_Q[:, None])

    row = first_share + chunk * tl.num_programs(1) + tl.program_id(1)
    share = bias_shares + (head.to(tl.int64) * num_shares + row) * (2 * reach + 1)
    begun_K, completed_K = _diagonals(sum_QK, QUERIES, KEYS)
    low, high = _store_diagonals(share, diagonal * KEYS, begun_K, 0.0, 0.0, reach, KEYS)
    low, high = _store_diagonals(share, (diagonal - 1) * KEYS, completed_K, low, high, reach, KEYS)
    store_ends(share, low, high, reach)


@triton.jit
def _diagonals(grads, QUERIES: tl.constexpr, KEYS: tl.constexpr):
    """Sums [K] over the elements (row, row + c), for c from 0, and over (row, row + c - K)."""
    tl.static_assert(QUERIES == KEYS, "a row is rotated once at most")
    place_QK = tl.arange(0, KEYS)[None, :] + tl.arange(0, QUERIES)[:, None]
    rotated_QK = tl.gather(grads, place_QK % KEYS, 1)
    return tl.sum(tl.where(place_QK < KEYS, rotated_QK, 0.0), 0), tl.sum(tl.where(place_QK < KEYS, 0.0, rotated_QK), 0)


@triton.jit
def _store_diagonals(share, first_difference, sum_K, low, high, reach, KEYS: tl.constexpr):
    """Relative positions within the reach have a value of their own, stored; the others add to the two ends' sums."""
    difference_K = first_difference + tl.arange(0, KEYS)
    tl.store(share + difference_K + reach, sum_K, mask=(difference_K > -reach) & (difference_K < reach))
    is_low_K = difference_K <= -reach
    low += tl.sum(tl.where(is_low_K, sum_K, 0.0))
    high += tl.sum(tl.where((difference_K >= reach) & (is_low_K == 0), sum_K, 0.0))
    return low, high


@triton.jit
def store_ends(share, low, high, reach):
    """The sums of the relative positions up to -reach, and from reach on; they are one place without a reach."""
    tl.store(share + 2 * reach, high, mask=reach > 0)
    tl.store(share, low + tl.where(reach > 0, 0.0, high))


@triton.jit
def add_by_index(share_R, grads, index, visible, VALUES: tl.constexpr):
    """`share_R` plus the sum of `grads` where each index occurs."""
    values_R = tl.arange(0, VALUES)
    first = tl.min(tl.where(visible, index, LARGEST))
    last = tl.max(tl.where(visible, index, LEAST))
    for value in range(first, last + 1):
        share_R += tl.where(values_R == value, tl.sum(tl.where(index == value, grads, 0.0)), 0.0)
    return share_R
