"""Attention forward in Triton: one program is a tile of queries of one sequence and head.

1. the tile's sequence, its queries and their intervals;
2. over the blocks of keys the tile may see: scores, softmax against the running maximum, products with the values;
3. the output, and log2 of the sum of exponentials for backward (+inf where a query sees nothing).

Shape suffixes: Q queries and K keys of a tile, D head dimension (rounded up to a power of two).
"""

import triton
import triton.language as tl

from pipeline.kernels.attention.triton_fire import add_fire, fire_breaks_within, fire_distances, fire_norms
from pipeline.kernels.attention.triton_scores import (
    DRAWS_PER_HEAD,
    LOG2_E,
    base2_scores,
    draws_below,
    load_positions,
    sees,
)
from pipeline.kernels.attention.triton_tiles import (
    find_tile,
    load_intervals,
    load_rows,
    rows_of,
    store_rows,
    visited_keys,
)

_NUMBERS = [
    *("num_sequences", "num_queries", "num_heads", "block_stride", "bias_stride", "reach", "scale"),
    *("keep_low", "keep_high", "keep_threshold"),
    *("dropout_low", "dropout_high", "dropout_threshold", "dropout_scale"),
]


@triton.jit(do_not_specialize=_NUMBERS)
def forward_kernel(
    q, k, v, out, logsumexp, q_row, q_head, k_row, k_head, v_row, v_head,
    cu_q, cu_k, num_sequences, num_queries, num_heads,
    key_ranks, a_start, a_stop, b_start, b_stop, query_ranks, block_ranks, block_stride,
    keep_rows, keep_positions, keep_low, keep_high, keep_threshold,
    bias, bias_stride, reach, fire_pieces, fire_breaks, fire_shape, fire_extents,
    q_positions, k_positions, key_scores, scale,
    dropout_rows, dropout_positions, dropout_low, dropout_high, dropout_threshold, dropout_scale,
    SHARING: tl.constexpr, HEAD_DIM: tl.constexpr, WIDTH: tl.constexpr, QUERIES: tl.constexpr, KEYS: tl.constexpr,
    NUM_BREAKS: tl.constexpr, PIECES: tl.constexpr, PTX: tl.constexpr,
):  # fmt: skip
    """Write `out` [Tq, H, D] and `logsumexp` [H, Tq]; the arguments are `cpu.Arguments`' and triton_launch's."""
    program, head = tl.program_id(0), tl.program_id(1)
    sequence, first_query, stop_query, first_row = find_tile(cu_q, num_sequences, num_queries, program, QUERIES)
    if first_row >= stop_query:
        return
    first_key, num_keys = rows_of(cu_k, sequence, num_sequences)
    rows_Q = first_row + tl.arange(0, QUERIES)
    mask_Q = rows_Q < stop_query
    q_QD = load_rows(q, first_row, q_row, head * q_head, mask_Q, HEAD_DIM, WIDTH)
    position_Q = load_positions(q_positions, rows_Q, first_query, mask_Q)
    if fire_pieces is not None:
        norms = fire_norms(fire_extents, fire_shape, rows_Q, mask_Q)
    keep = (keep_rows, keep_positions, keep_low, keep_high, keep_threshold)
    intervals = (a_start, a_stop, b_start, b_stop)
    dropout = (dropout_rows, dropout_positions, dropout_low, dropout_high, dropout_threshold)

    first_block, stop_block = num_keys * 0, tl.cdiv(num_keys, KEYS)
    first_whole, stop_whole = first_block, num_keys // KEYS
    if block_ranks is not None:
        slot = first_key // KEYS + sequence
        a_Q = load_intervals(a_start, a_stop, rows_Q, mask_Q)
        b_Q = load_intervals(b_start, b_stop, rows_Q, mask_Q)
        first_block, stop_block, first_whole, stop_whole = visited_keys(
            block_ranks, slot, stop_block, stop_whole, block_stride, a_Q, b_Q, mask_Q
        )
    greatest_Q = tl.full([QUERIES], float("-inf"), tl.float32)
    total_Q = tl.zeros([QUERIES], tl.float32)
    sum_QD = tl.zeros([QUERIES, WIDTH], tl.float32)
    kv_head = head // SHARING
    for start in range(first_block * KEYS, stop_block * KEYS, KEYS):
        rows_K = first_key + start + tl.arange(0, KEYS)
        mask_K = rows_K < first_key + num_keys
        k_KD = load_rows(k, first_key + start, k_row, kv_head * k_head, mask_K, HEAD_DIM, WIDTH)
        v_KD = load_rows(v, first_key + start, v_row, kv_head * v_head, mask_K, HEAD_DIM, WIDTH)
        products = tl.dot(q_QD, tl.trans(k_KD), input_precision="ieee")
        position_K = load_positions(k_positions, rows_K, first_key, mask_K)
        first_difference = first_query + start - first_row
        scores = base2_scores(
            products, scale, bias, bias_stride, reach, head, first_difference, q_positions, position_Q, position_K,
            key_scores, rows_K, mask_K, PTX,
        )  # fmt: skip
        if fire_pieces is not None:
            below, reached = fire_breaks_within(
                position_Q, position_K, norms[0], fire_shape, fire_breaks, NUM_BREAKS, PIECES
            )
            x = fire_distances(position_Q, position_K, norms[0], fire_shape)
            scores = add_fire(scores, x, below, reached, fire_breaks, fire_pieces, head, num_heads, LOG2_E, NUM_BREAKS)
        block = start // KEYS
        if (block < first_whole) | (block >= stop_whole):
            visible = mask_K[None, :]
            if block_ranks is not None:
                rank_K = tl.load(key_ranks + rows_K, mask=mask_K, other=0)
                visible = visible & sees(keep, intervals, query_ranks, rows_Q, mask_Q, rank_K, mask_K, start)
            scores = tl.where(visible, scores, float("-inf"))
        now_Q = tl.maximum(greatest_Q, tl.max(scores, 1))
        base_Q = tl.where(now_Q == float("-inf"), 0.0, now_Q)  # nothing seen yet: exp2 of -inf, not of NaN
        weights = tl.exp2(scores - base_Q[:, None])
        shrunk_Q = tl.exp2(greatest_Q - base_Q)
        total_Q = total_Q * shrunk_Q + tl.sum(weights, 1)
        if dropout_rows is not None:
            dropped = draws_below(dropout, rows_Q, mask_Q, head * DRAWS_PER_HEAD + start, KEYS)
            weights = tl.where(dropped, 0.0, weights * dropout_scale)
        sum_QD = tl.dot(weights.to(v_KD.dtype), v_KD, sum_QD * shrunk_Q[:, None], input_precision="ieee")
        greatest_Q = now_Q

    seen_Q = total_Q != 0.0  # a NaN counts as seen, and stays
    out_QD = tl.where(seen_Q[:, None], sum_QD / tl.where(seen_Q, total_Q, 1.0)[:, None], 0.0)
    store_rows(out, out_QD, first_row, num_heads * HEAD_DIM, head * HEAD_DIM, mask_Q, HEAD_DIM, WIDTH)
    log_Q = tl.where(seen_Q, greatest_Q + tl.log2(tl.where(seen_Q, total_Q, 1.0)), float("inf"))
    tl.store(logsumexp + head.to(tl.int64) * num_queries + rows_Q, log_Q, mask=mask_Q)
