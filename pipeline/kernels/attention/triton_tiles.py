"""Which rows a Triton program works on, and which blocks of the other side are worth a visit.

A *tile* is a run of rows of one sequence, so ranks, draws and positions in it are plain indices. The grid is known
without asking the device: with tiles of TILE rows, sequence n owns the programs from cu[n] // TILE + n on. That is
enough for its ceil(length / TILE) tiles and never reaches the next sequence's; the others end at once. The tail is one
more sequence, without keys, so that its rows are written too.

Shape suffixes: Q queries and K keys of a tile, P columns of a head, C sequences or blocks looked at in one step.
"""

import triton
import triton.language as tl

LARGEST, LEAST = tl.constexpr(2**31 - 1), tl.constexpr(-(2**31))
STEP = tl.constexpr(256)  # sequences or blocks looked at at once


def num_programs(num_rows: int, num_sequences: int, tile: int) -> int:
    """How many programs cover `num_rows` rows, tail included, whatever the lengths of the sequences."""
    return num_rows // tile + num_sequences + 1


@triton.jit
def find_tile(cu, num_sequences, num_rows, program, TILE: tl.constexpr):
    """The program's sequence, its first row and its end, and the first row of its tile (at the end: no tile)."""
    sequence = -1
    for start in range(0, num_sequences + 1, STEP):
        n_C = start + tl.arange(0, STEP)
        first_C = tl.load(cu + n_C, mask=n_C <= num_sequences, other=LARGEST)
        begun_C = (n_C <= num_sequences) & (first_C // TILE + n_C <= program)
        sequence += tl.sum(begun_C.to(tl.int32))
    first = tl.load(cu + sequence)
    stop = tl.load(cu + sequence + 1, mask=sequence < num_sequences, other=num_rows)
    tile = program - first // TILE - sequence
    return sequence, first, stop, first + tile * TILE


@triton.jit
def rows_of(cu, sequence, num_sequences):
    """First row and number of rows of a sequence; the tail has none."""
    first = tl.load(cu + sequence)
    return first, tl.load(cu + sequence + 1, mask=sequence < num_sequences, other=first) - first


@triton.jit
def _places(first_row, row_stride, offset, ROWS: tl.constexpr, WIDTH: tl.constexpr):
    """Where a tile begins, 64 bits, and its elements from there on [ROWS, WIDTH], 32: registers are scarce."""
    within = tl.arange(0, ROWS)[:, None] * row_stride + tl.arange(0, WIDTH)[None, :]
    return first_row.to(tl.int64) * row_stride + offset, within


@triton.jit
def load_rows(x, first_row, row_stride, offset, mask, HEAD_DIM: tl.constexpr, WIDTH: tl.constexpr):
    """[rows, WIDTH] of one head, as many rows as `mask` has; zeros where that says so and beyond the head."""
    start, within = _places(first_row, row_stride, offset, mask.shape[0], WIDTH)
    inside = mask[:, None] & (tl.arange(0, WIDTH) < HEAD_DIM)[None, :]
    return tl.load(x + start + within, mask=inside, other=0.0)


@triton.jit
def dot_in_parts(at_Q, mask_Q, at_K, mask_K, HEAD_DIM: tl.constexpr, PART: tl.constexpr):
    """[Q, K] products of rows, each read here and PART columns at a time: so no registers hold the rows before.

    Where they lie are `load_rows`' first four arguments.
    """
    products = tl.zeros([mask_Q.shape[0], mask_K.shape[0]], tl.float32)
    for start in tl.static_range(0, HEAD_DIM, PART):
        x_QP = load_rows(at_Q[0], at_Q[1], at_Q[2], at_Q[3] + start, mask_Q, HEAD_DIM - start, PART)
        y_KP = load_rows(at_K[0], at_K[1], at_K[2], at_K[3] + start, mask_K, HEAD_DIM - start, PART)
        products = tl.dot(x_QP, tl.trans(y_KP), products, input_precision="ieee")
    return products


@triton.jit
def store_rows(x, values, first_row, row_stride, offset, mask, HEAD_DIM: tl.constexpr, WIDTH: tl.constexpr):
    """The opposite of `load_rows`, in the dtype of `x`."""
    start, within = _places(first_row, row_stride, offset, mask.shape[0], WIDTH)
    inside = mask[:, None] & (tl.arange(0, WIDTH) < HEAD_DIM)[None, :]
    tl.store(x + start + within, values.to(x.dtype.element_ty), mask=inside)


@triton.jit
def load_intervals(starts, stops, rows_Q, mask_Q):
    """The queries' intervals; empty where there is no query or no such interval."""
    if starts is None:
        return tl.zeros_like(rows_Q), tl.zeros_like(rows_Q)
    else:
        return tl.load(starts + rows_Q, mask=mask_Q, other=0), tl.load(stops + rows_Q, mask=mask_Q, other=0)


@triton.jit
def extremes(starts, stops):
    """Least start and greatest stop of the intervals that hold something."""
    least = tl.min(tl.where(stops > starts, starts, LARGEST))
    return least, tl.max(tl.where(stops > starts, stops, LEAST))


@triton.jit
def shared_interval(starts, stops, mask):
    """What all of the intervals hold: greatest start and least stop."""
    return tl.max(tl.where(mask, starts, LEAST)), tl.min(tl.where(mask, stops, LARGEST))


@triton.jit
def visited_keys(block_ranks, first_block, num_blocks, num_full, stride, a_Q, b_Q, mask_Q):
    """First and last + 1 of a sequence's blocks of keys that a tile with these intervals [Q] may see.

    Then those of the full blocks (the first `num_full`) of which all its queries see all, by interval A; none where
    these do not lie together.
    """
    a_least, a_most = extremes(a_Q[0], a_Q[1])
    b_least, b_most = extremes(b_Q[0], b_Q[1])
    whole_least, whole_most = shared_interval(a_Q[0], a_Q[1], mask_Q)
    first, stop = num_blocks, num_blocks * 0
    first_whole, stop_whole, num_whole = first, stop, stop
    for start in range(0, num_blocks, STEP):
        block_C = start + tl.arange(0, STEP)
        least_C = tl.load(block_ranks + first_block + block_C, mask=block_C < num_blocks, other=LARGEST)
        most_C = tl.load(block_ranks + stride + first_block + block_C, mask=block_C < num_blocks, other=LEAST)
        seen_C = ((a_least <= most_C) & (a_most > least_C)) | ((b_least <= most_C) & (b_most > least_C))
        seen_C &= block_C < num_blocks
        first = tl.minimum(first, tl.min(tl.where(seen_C, block_C, num_blocks)))
        stop = tl.maximum(stop, tl.max(tl.where(seen_C, block_C + 1, 0)))
        whole_C = (whole_least <= least_C) & (whole_most > most_C) & (block_C < num_full)
        first_whole = tl.minimum(first_whole, tl.min(tl.where(whole_C, block_C, num_blocks)))
        stop_whole = tl.maximum(stop_whole, tl.max(tl.where(whole_C, block_C + 1, 0)))
        num_whole += tl.sum(whole_C.to(tl.int32))
    return first, stop, first_whole, tl.where(stop_whole - first_whole == num_whole, stop_whole, first_whole)


@triton.jit
def _may_see(at_C, stride, inside_C, least, most):
    """Whether the tiles whose summaries lie at these places may see ranks least .. most."""
    seen_a = tl.load(at_C, mask=inside_C, other=LARGEST) <= most
    seen_a &= tl.load(at_C + stride, mask=inside_C, other=LEAST) > least
    seen_b = tl.load(at_C + 2 * stride, mask=inside_C, other=LARGEST) <= most
    seen_b &= tl.load(at_C + 3 * stride, mask=inside_C, other=LEAST) > least
    return inside_C & (seen_a | seen_b)


@triton.jit
def visited_queries(tile_intervals, first_tile, num_tiles, stride, least, most):
    """First and last + 1 of a sequence's tiles of queries that may see a block of keys with ranks least .. most.

    Then those of the tiles of which every query sees the whole block, as `visited_keys` has them.
    """
    first, stop = num_tiles, num_tiles * 0
    first_whole, stop_whole, num_whole = first, stop, stop
    for start in range(0, num_tiles, STEP):
        tile_C = start + tl.arange(0, STEP)
        inside_C = tile_C < num_tiles
        at_C = tile_intervals + first_tile + tile_C
        seen_C = _may_see(at_C, stride, inside_C, least, most)
        first = tl.minimum(first, tl.min(tl.where(seen_C, tile_C, num_tiles)))
        stop = tl.maximum(stop, tl.max(tl.where(seen_C, tile_C + 1, 0)))
        whole_C = tl.load(at_C + 4 * stride, mask=inside_C, other=LARGEST) <= least
        whole_C &= tl.load(at_C + 5 * stride, mask=inside_C, other=LEAST) > most
        first_whole = tl.minimum(first_whole, tl.min(tl.where(whole_C, tile_C, num_tiles)))
        stop_whole = tl.maximum(stop_whole, tl.max(tl.where(whole_C, tile_C + 1, 0)))
        num_whole += tl.sum(whole_C.to(tl.int32))
    return first, stop, first_whole, tl.where(stop_whole - first_whole == num_whole, stop_whole, first_whole)


@triton.jit
def visited_diagonal(intervals, tile_stride, ranks, block_stride, first_tile, stop_tile):
    """First and last + 1 of the tiles of queries n that may see the block of keys n, where their summaries begin."""
    first, stop = stop_tile, tl.minimum(first_tile, stop_tile)
    for start in range(first_tile, stop_tile, STEP):
        tile_C = start + tl.arange(0, STEP)
        inside_C = tile_C < stop_tile
        least_C = tl.load(ranks + tile_C, mask=inside_C, other=LARGEST)
        most_C = tl.load(ranks + block_stride + tile_C, mask=inside_C, other=LEAST)
        seen_C = _may_see(intervals + tile_C, tile_stride, inside_C, least_C, most_C)
        first = tl.minimum(first, tl.min(tl.where(seen_C, tile_C, stop_tile)))
        stop = tl.maximum(stop, tl.max(tl.where(seen_C, tile_C + 1, first_tile)))
    return first, stop


@triton.jit(do_not_specialize=["num_sequences", "num_keys"])
def summarize_keys(cu_k, num_sequences, num_keys, key_ranks, block_ranks, KEYS: tl.constexpr):
    """block_ranks [2, programs]: least and greatest rank of each block of keys."""
    program = tl.program_id(0)
    _, _, stop, tile_first = find_tile(cu_k, num_sequences, num_keys, program, KEYS)
    rows_K = tile_first + tl.arange(0, KEYS)
    stride = tl.num_programs(0)
    tl.store(block_ranks + program, tl.min(tl.load(key_ranks + rows_K, mask=rows_K < stop, other=LARGEST)))
    tl.store(block_ranks + stride + program, tl.max(tl.load(key_ranks + rows_K, mask=rows_K < stop, other=LEAST)))


@triton.jit(do_not_specialize=["num_sequences", "num_queries"])
def summarize_queries(
    cu_q, num_sequences, num_queries, a_start, a_stop, b_start, b_stop, tile_intervals, QUERIES: tl.constexpr
):
    """tile_intervals [6, programs]: extremes of each tile's intervals A, of B, and what all of its A hold."""
    program = tl.program_id(0)
    _, _, stop, tile_first = find_tile(cu_q, num_sequences, num_queries, program, QUERIES)
    rows_Q = tile_first + tl.arange(0, QUERIES)
    stride = tl.num_programs(0)
    mask_Q = rows_Q < stop
    a_Q = load_intervals(a_start, a_stop, rows_Q, mask_Q)
    b_Q = load_intervals(b_start, b_stop, rows_Q, mask_Q)
    a_least, a_most = extremes(a_Q[0], a_Q[1])
    b_least, b_most = extremes(b_Q[0], b_Q[1])
    whole_least, whole_most = shared_interval(a_Q[0], a_Q[1], mask_Q)
    tl.store(tile_intervals + program, a_least)
    tl.store(tile_intervals + stride + program, a_most)
    tl.store(tile_intervals + 2 * stride + program, b_least)
    tl.store(tile_intervals + 3 * stride + program, b_most)
    tl.store(tile_intervals + 4 * stride + program, whole_least)
    tl.store(tile_intervals + 5 * stride + program, whole_most)
