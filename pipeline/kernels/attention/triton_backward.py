"""Attention backward in Triton: two kernels, each writing what no other program writes, so the bits repeat.

1. `backward_queries`, a program per tile of queries: dq, delta = sum(dO * O), and the tile's share of the bias's
   gradient, in a row of its own (a later sum over the tiles, in fixed order, makes the gradient: triton_bias.py;
   FIRE's, triton_fire.py, in a launch of its own, without dq);
2. `backward_keys`, a program per block of keys and key head, all query heads that read it: dk, dv and the key scores'.

Both compute the probabilities again from logsumexp, masks and dropout from their numbers.

Shape suffixes: Q queries and K keys of a tile, D head dimension (rounded up to a power of two), R values of the bias.
"""

import triton
import triton.language as tl

from pipeline.kernels.attention.triton_bias import add_by_index, store_ends
from pipeline.kernels.attention.triton_fire import (
    add_fire,
    add_fire_gradient,
    fire_breaks_within,
    fire_distances,
    fire_norms,
    fire_tangents,
    store_fire_gradient,
)
from pipeline.kernels.attention.triton_scores import (
    DRAWS_PER_HEAD,
    LOG2_E,
    base2_scores,
    bias_index,
    draws_below_apart,
    is_beyond,
    load_positions,
    sees,
)
from pipeline.kernels.attention.triton_tiles import (
    LARGEST,
    LEAST,
    dot_in_parts,
    find_tile,
    load_intervals,
    load_rows,
    rows_of,
    store_rows,
    visited_keys,
    visited_queries,
)

_NUMBERS = [
    *("num_sequences", "num_queries", "num_heads", "bias_stride", "reach", "scale"),
    *("keep_low", "keep_high", "keep_threshold"),
    *("dropout_low", "dropout_high", "dropout_threshold", "dropout_scale"),
]


@triton.jit(do_not_specialize=[*_NUMBERS, "block_stride", "num_shares"])
def backward_queries(
    q, k, v, out, logsumexp, grad_out, grad_q, delta, bias_shares, num_shares, fire_shares,
    q_row, q_head, k_row, k_head, v_row, v_head,
    cu_q, cu_k, num_sequences, num_queries, num_heads,
    key_ranks, a_start, a_stop, b_start, b_stop, query_ranks, block_ranks, block_stride,
    keep_rows, keep_positions, keep_low, keep_high, keep_threshold,
    bias, bias_stride, reach, fire_pieces, fire_breaks, fire_shape, fire_extents,
    q_positions, k_positions, key_scores, scale,
    dropout_rows, dropout_positions, dropout_low, dropout_high, dropout_threshold, dropout_scale,
    SHARING: tl.constexpr, HEAD_DIM: tl.constexpr, WIDTH: tl.constexpr, QUERIES: tl.constexpr, KEYS: tl.constexpr,
    PART: tl.constexpr, VALUES: tl.constexpr, NUM_BREAKS: tl.constexpr, PIECES: tl.constexpr, PTX: tl.constexpr,
):  # fmt: skip
    """Write delta [H, Tq], and where given grad_q [Tq, H, D] and the shares of the bias's gradient.

    Of dO and v, PART columns are multiplied at a time. bias_shares [H, num_shares, R] (its first rows: see
    triton_bias.py) and fire_shares [H, programs, 2 * NUM_BREAKS + 4] come as zeros.
    """
    program, head = tl.program_id(0), tl.program_id(1)
    sequence, first_query, stop_query, first_row = find_tile(cu_q, num_sequences, num_queries, program, QUERIES)
    if first_row >= stop_query:
        return
    first_key, num_keys = rows_of(cu_k, sequence, num_sequences)
    rows_Q = first_row + tl.arange(0, QUERIES)
    mask_Q = rows_Q < stop_query
    out_row, out_head = num_heads * HEAD_DIM, head * HEAD_DIM
    q_QD = load_rows(q, first_row, q_row, head * q_head, mask_Q, HEAD_DIM, WIDTH)
    grad_out_QD = load_rows(grad_out, first_row, out_row, out_head, mask_Q, HEAD_DIM, WIDTH)
    out_QD = load_rows(out, first_row, out_row, out_head, mask_Q, HEAD_DIM, WIDTH)
    delta_Q = tl.sum(grad_out_QD.to(tl.float32) * out_QD.to(tl.float32), 1)
    per_query_Q = head.to(tl.int64) * num_queries + rows_Q
    tl.store(delta + per_query_Q, delta_Q, mask=mask_Q)
    logsumexp_Q = tl.load(logsumexp + per_query_Q, mask=mask_Q, other=float("inf"))
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
    if bias_shares is not None:
        share = bias_shares + (head.to(tl.int64) * num_shares + program) * (2 * reach + 1)
    if fire_shares is not None:
        slopes = fire_pieces + (num_heads + head) * (NUM_BREAKS + 1)
        sums_S, sums_x_S = tl.zeros([PIECES], tl.float32), tl.zeros([PIECES], tl.float32)
        by_x_Q, by_tangent_Q = tl.zeros([QUERIES], tl.float32), tl.zeros([QUERIES], tl.float32)
    low_Q, high_Q = tl.zeros([QUERIES], tl.float32), tl.zeros([QUERIES], tl.float32)
    share_R = tl.zeros([VALUES], tl.float32)
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
        weights = tl.exp2(scores - logsumexp_Q[:, None])
        if PART < WIDTH:
            at_Q, at_K = (grad_out, first_row, out_row, out_head), (v, first_key + start, v_row, kv_head * v_head)
            grads = dot_in_parts(at_Q, mask_Q, at_K, mask_K, HEAD_DIM, PART)
        else:
            grads = tl.dot(grad_out_QD, tl.trans(v_KD), input_precision="ieee")
        if dropout_rows is not None:
            dropped = draws_below_apart(dropout, rows_Q, mask_Q, head * DRAWS_PER_HEAD + start, KEYS)
            grads = tl.where(dropped, 0.0, grads * dropout_scale)
        grads = weights * (grads - delta_Q[:, None])
        if grad_q is not None:
            sum_QD = tl.dot(grads.to(k_KD.dtype), k_KD, sum_QD, input_precision="ieee")
        if fire_shares is not None:
            sums_S, sums_x_S, steep = add_fire_gradient(
                sums_S, sums_x_S, x, below, reached, grads, fire_breaks, slopes, PIECES
            )
            by_x_Q += tl.sum(steep * x, 1)
            by_tangent_Q += tl.sum(steep * fire_tangents(x, norms[0], fire_shape), 1)
        if bias_shares is not None:
            if q_positions is not None:
                index = bias_index(position_Q[:, None], position_K[None, :], reach)
                share_R = add_by_index(share_R, grads, index, scores > float("-inf"), VALUES)
            else:
                is_low, is_high = is_beyond(first_difference, reach, QUERIES, KEYS)
                if is_low:
                    low_Q += tl.sum(grads, 1)
                elif is_high:
                    high_Q += tl.sum(grads, 1)

    if grad_q is not None:
        store_rows(grad_q, sum_QD * scale, first_row, out_row, out_head, mask_Q, HEAD_DIM, WIDTH)
    if fire_shares is not None:
        share = fire_shares + (head.to(tl.int64) * tl.num_programs(0) + program) * (2 * NUM_BREAKS + 4)
        store_fire_gradient(share, sums_S, sums_x_S, by_x_Q, by_tangent_Q, norms, NUM_BREAKS, PIECES)
    if bias_shares is not None:
        if q_positions is not None:
            values_R = tl.arange(0, VALUES)
            tl.store(share + values_R, share_R, mask=values_R <= 2 * reach)
        else:
            store_ends(share, tl.sum(low_Q), tl.sum(high_Q), reach)


@triton.jit(do_not_specialize=[*_NUMBERS, "num_keys", "tile_stride"])
def backward_keys(
    q, k, v, logsumexp, grad_out, delta, grad_k, grad_v, score_shares,
    q_row, q_head, k_row, k_head, v_row, v_head,
    cu_q, cu_k, num_sequences, num_queries, num_keys, num_heads,
    key_ranks, a_start, a_stop, b_start, b_stop, query_ranks, tile_intervals, tile_stride,
    keep_rows, keep_positions, keep_low, keep_high, keep_threshold,
    bias, bias_stride, reach, fire_pieces, fire_breaks, fire_shape, fire_extents,
    q_positions, k_positions, key_scores, scale,
    dropout_rows, dropout_positions, dropout_low, dropout_high, dropout_threshold, dropout_scale,
    SHARING: tl.constexpr, HEAD_DIM: tl.constexpr, WIDTH: tl.constexpr, QUERIES: tl.constexpr, KEYS: tl.constexpr,
    NUM_BREAKS: tl.constexpr, PIECES: tl.constexpr, PTX: tl.constexpr,
):  # fmt: skip
    """Write grad_k and grad_v [Tk, G, D], and where given score_shares [G, Tk]."""
    program, kv_head = tl.program_id(0), tl.program_id(1)
    sequence, first_key, stop_key, first_row = find_tile(cu_k, num_sequences, num_keys, program, KEYS)
    if first_row >= stop_key:
        return
    first_query, num_sequence_queries = rows_of(cu_q, sequence, num_sequences)
    rows_K = first_row + tl.arange(0, KEYS)
    mask_K = rows_K < stop_key
    k_KD = load_rows(k, first_row, k_row, kv_head * k_head, mask_K, HEAD_DIM, WIDTH)
    v_KD = load_rows(v, first_row, v_row, kv_head * v_head, mask_K, HEAD_DIM, WIDTH)
    rank_K = tl.load(key_ranks + rows_K, mask=mask_K, other=0)
    position_K = load_positions(k_positions, rows_K, first_key, mask_K)
    keep = (keep_rows, keep_positions, keep_low, keep_high, keep_threshold)
    intervals = (a_start, a_stop, b_start, b_stop)
    dropout = (dropout_rows, dropout_positions, dropout_low, dropout_high, dropout_threshold)

    first_tile, stop_tile = num_sequence_queries * 0, tl.cdiv(num_sequence_queries, QUERIES)
    if tile_intervals is not None:
        slot = first_query // QUERIES + sequence
        least, most = tl.min(tl.where(mask_K, rank_K, LARGEST)), tl.max(tl.where(mask_K, rank_K, LEAST))
        first_tile, stop_tile, first_whole, stop_whole = visited_queries(
            tile_intervals, slot, stop_tile, tile_stride, least, most
        )
    grad_k_KD = tl.zeros([KEYS, WIDTH], tl.float32)
    grad_v_KD = tl.zeros([KEYS, WIDTH], tl.float32)
    score_K = tl.zeros([KEYS], tl.float32)
    num_tiles = tl.maximum(stop_tile - first_tile, 0)
    for step in range(SHARING * num_tiles):  # one loop: the compiler overlaps steps of the innermost alone
        head = kv_head * SHARING + step // num_tiles
        tile = first_tile + step % num_tiles
        start = tile * QUERIES
        rows_Q = first_query + start + tl.arange(0, QUERIES)
        mask_Q = rows_Q < first_query + num_sequence_queries
        q_QD = load_rows(q, first_query + start, q_row, head * q_head, mask_Q, HEAD_DIM, WIDTH)
        grad_out_QD = load_rows(
            grad_out, first_query + start, num_heads * HEAD_DIM, head * HEAD_DIM, mask_Q, HEAD_DIM, WIDTH
        )
        per_query_Q = head.to(tl.int64) * num_queries + rows_Q
        logsumexp_Q = tl.load(logsumexp + per_query_Q, mask=mask_Q, other=float("inf"))
        delta_Q = tl.load(delta + per_query_Q, mask=mask_Q, other=0.0)
        products = tl.dot(q_QD, tl.trans(k_KD), input_precision="ieee")
        position_Q = load_positions(q_positions, rows_Q, first_query, mask_Q)
        if fire_pieces is not None:
            norms = fire_norms(fire_extents, fire_shape, rows_Q, mask_Q)
        scores = base2_scores(
            products, scale, bias, bias_stride, reach, head, first_row - first_key - start, q_positions,
            position_Q, position_K, key_scores, rows_K, mask_K, PTX,
        )  # fmt: skip
        if fire_pieces is not None:
            below, reached = fire_breaks_within(
                position_Q, position_K, norms[0], fire_shape, fire_breaks, NUM_BREAKS, PIECES
            )
            x = fire_distances(position_Q, position_K, norms[0], fire_shape)
            scores = add_fire(scores, x, below, reached, fire_breaks, fire_pieces, head, num_heads, LOG2_E, NUM_BREAKS)
        # A query beyond the end weighs 0 by its logsumexp; a key beyond it gathers for rows that are not stored.
        if tile_intervals is not None:  # noqa: SIM102 (known to the compiler, unlike the rest)
            if (tile < first_whole) | (tile >= stop_whole):
                seen_K, first = rank_K, first_row - first_key
                if WIDTH > 64 and dropout_rows is not None:  # registers are scarce: again, so that none holds them
                    seen_K = tl.load(key_ranks + rows_K, mask=mask_K, other=0)
                visible = sees(keep, intervals, query_ranks, rows_Q, mask_Q, seen_K, mask_K, first)
                scores = tl.where(visible, scores, float("-inf"))
        weights = tl.exp2(scores - logsumexp_Q[:, None])
        grads = tl.dot(grad_out_QD, tl.trans(v_KD), input_precision="ieee")
        dropped_weights = weights
        if dropout_rows is not None:
            first_draw = head * DRAWS_PER_HEAD + first_row - first_key
            dropped = draws_below_apart(dropout, rows_Q, mask_Q, first_draw, KEYS)
            dropped_weights = tl.where(dropped, 0.0, weights * dropout_scale)
            grads = tl.where(dropped, 0.0, grads * dropout_scale)
        grad_v_KD = tl.dot(tl.trans(dropped_weights.to(v_KD.dtype)), grad_out_QD, grad_v_KD, input_precision="ieee")
        grads = weights * (grads - delta_Q[:, None])
        if score_shares is not None:
            score_K += tl.sum(grads, 0)
        grad_k_KD = tl.dot(tl.trans(grads.to(q_QD.dtype)), q_QD, grad_k_KD, input_precision="ieee")

    kv_row, kv_offset = tl.num_programs(1) * HEAD_DIM, kv_head * HEAD_DIM
    store_rows(grad_k, grad_k_KD * scale, first_row, kv_row, kv_offset, mask_K, HEAD_DIM, WIDTH)
    store_rows(grad_v, grad_v_KD, first_row, kv_row, kv_offset, mask_K, HEAD_DIM, WIDTH)
    if score_shares is not None:
        tl.store(score_shares + kv_head.to(tl.int64) * num_keys + rows_K, score_K, mask=mask_K)
