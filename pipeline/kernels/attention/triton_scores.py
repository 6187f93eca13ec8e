"""The scores of a tile in Triton: bias, key scores, the interval rule, random bits.

Everything of a query comes as [Q, 1], everything of a key as [1, K]: a thread holds few rows and many columns of a
tile, so queries, of which there is more to know, are the rows.
"""

import triton
import triton.language as tl

from pipeline.kernels.attention.triton_tiles import load_intervals

LOG2_E = tl.constexpr(1.4426950408889634)
DRAWS_PER_HEAD = tl.constexpr(2**20)
DRAWS_PER_BLOCK = tl.constexpr(4)
KEEPS_PER_BLOCK = tl.constexpr(8)
PHILOX_ROUNDS = tl.constexpr(10)


@triton.jit
def load_positions(positions, rows, first_row, mask):
    """The rows' positions: given, or their indices in their sequence."""
    if positions is None:
        return rows - first_row
    else:
        return tl.load(positions + rows, mask=mask, other=0)


@triton.jit
def bias_index(q_positions, k_positions, reach):
    """The place of a relative position (key's minus query's) among the bias's values."""
    return tl.minimum(tl.maximum(k_positions - q_positions, -reach), reach) + reach


@triton.jit
def base2_scores(
    products, scale, bias, bias_stride, reach, head, first_difference, q_positions, position_Q, position_K,
    key_scores, rows_K, mask_K, PTX: tl.constexpr,
):  # fmt: skip
    """Scores times log2(e), so that exp2 makes the weights; `bias` is the table of triton_launch.py."""
    scores = products * (scale * LOG2_E)
    if bias is not None:
        middle = bias + head * bias_stride + bias_stride // 2
        if q_positions is None:
            scores = _add_bias(scores, middle, first_difference, reach, PTX)
        else:
            scores += tl.load(middle + (bias_index(position_Q[:, None], position_K[None, :], reach) - reach))
    if key_scores is not None:
        scores += tl.load(key_scores + rows_K, mask=mask_K, other=0.0)[None, :] * LOG2_E
    return scores


@triton.jit
def is_beyond(first_difference, reach, QUERIES: tl.constexpr, KEYS: tl.constexpr):
    """Whether a tile whose first element has this relative position lies below the reach, and whether above it."""
    return first_difference <= -reach - KEYS + 1, first_difference >= reach + QUERIES - 1


@triton.jit
def _add_bias(scores, middle, first_difference, reach, PTX: tl.constexpr):
    """`scores` plus the value of each relative position; `middle` is where that of 0 lies."""
    QUERIES: tl.constexpr = scores.shape[0]
    KEYS: tl.constexpr = scores.shape[1]
    is_low, is_high = is_beyond(first_difference, reach, QUERIES, KEYS)
    if is_low | is_high:
        scores += tl.load(middle + tl.where(is_low, -reach, reach))
    else:
        scores += toeplitz(middle + first_difference, QUERIES, KEYS, PTX)
    return scores


@triton.jit
def toeplitz(at, QUERIES: tl.constexpr, KEYS: tl.constexpr, PTX: tl.constexpr):
    """[Q, K] of the values at `at` + column - row: every address is the tile's and a constant, in any layout.

    `PTX`: a load that the compiler does not know for one. Others it brings into shared memory some steps ahead, and as
    four bytes for each element of a tile leave no room there for a second program.
    """
    places = tl.arange(0, KEYS).to(tl.int64)[None, :] - tl.arange(0, QUERIES).to(tl.int64)[:, None]
    if PTX:
        return tl.inline_asm_elementwise(
            "ld.global.nc.f32 $0, [$1];", "=f,l", [(at + places).to(tl.int64)], tl.float32, True, 1
        )
    else:
        return tl.load(at + places)


@triton.jit
def sees(keep, intervals, query_ranks, rows_Q, mask_Q, ranks_K, mask_K, first_key):
    """The interval rule [Q, K], for keys of which the first has index `first_key` in its sequence.

    The queries' intervals (starts and stops of A, of B) are loaded here: few tiles need them. `query_ranks` (may be
    absent) are the ranks that interval B does not show.
    """
    kept = mask_K[None, :]
    if keep[0] is not None:
        kept = keeps(keep, rows_Q, mask_Q, first_key, ranks_K.shape[0])
    rank_1K = ranks_K[None, :]
    a_Q = load_intervals(intervals[0], intervals[1], rows_Q, mask_Q)
    b_Q = load_intervals(intervals[2], intervals[3], rows_Q, mask_Q)
    seen_b = (rank_1K >= b_Q[0][:, None]) & (rank_1K < b_Q[1][:, None]) & kept
    if query_ranks is not None:
        seen_b = seen_b & (rank_1K != tl.load(query_ranks + rows_Q, mask=mask_Q, other=0)[:, None])
    return ((rank_1K >= a_Q[0][:, None]) & (rank_1K < a_Q[1][:, None])) | seen_b


@triton.jit
def draws_below(stream, rows_Q, mask_Q, first_draw, COUNT: tl.constexpr):
    """Whether the 32 bits of draws first_draw (a multiple of 4) and on are below the threshold: [Q, COUNT].

    A stream is (rows [Tq], positions [Tq], key low, key high, threshold), the numbers 32 bits in an int32.
    """
    return _spread(_below(stream, rows_Q, mask_Q, first_draw, COUNT))


@triton.jit
def draws_below_apart(stream, rows_Q, mask_Q, first_draw, COUNT: tl.constexpr):
    """The same in a branch (nothing is below 0): the compiler keeps it apart from what needs registers around it."""
    below_QB = tl.zeros([rows_Q.shape[0], COUNT // DRAWS_PER_BLOCK], tl.int32)
    if stream[4] != 0:
        below_QB = _below(stream, rows_Q, mask_Q, first_draw, COUNT)
    return _spread(below_QB)


@triton.jit
def _below(stream, rows_Q, mask_Q, first_draw, COUNT: tl.constexpr):
    """A number of four bits for each block, the lowest its first draw's: [Q, COUNT / 4]."""
    first_block, threshold = first_draw // DRAWS_PER_BLOCK, stream[4].to(tl.uint32, bitcast=True)
    w0, w1, w2, w3 = _blocks(stream, rows_Q, mask_Q, first_block, COUNT // DRAWS_PER_BLOCK)
    low = (w0 < threshold).to(tl.int32) | ((w1 < threshold).to(tl.int32) << 1)
    return low | ((w2 < threshold).to(tl.int32) << 2) | ((w3 < threshold).to(tl.int32) << 3)


@triton.jit
def _spread(below_QB):
    """Each block's four bits side by side: [Q, COUNT]."""
    bits_QBF = (below_QB[:, :, None] >> tl.arange(0, DRAWS_PER_BLOCK)[None, None, :]) & 1
    return tl.reshape(bits_QBF, (below_QB.shape[0], DRAWS_PER_BLOCK * below_QB.shape[1])) != 0


@triton.jit
def keeps(stream, rows_Q, mask_Q, first_draw, COUNT: tl.constexpr):
    """Like `draws_below`, for draws of 16 bits, eight to a block: [Q, COUNT] from first_draw (a multiple of 8) on."""
    w0, w1, w2, w3 = _blocks(stream, rows_Q, mask_Q, first_draw // KEEPS_PER_BLOCK, COUNT // KEEPS_PER_BLOCK)
    words = tl.reshape(tl.join(tl.join(w0, w2), tl.join(w1, w3)), (rows_Q.shape[0], COUNT // 2))
    halves = tl.reshape(tl.join(words & 0xFFFF, words >> 16), (rows_Q.shape[0], COUNT))
    return halves < stream[4].to(tl.uint32, bitcast=True)


@triton.jit
def _blocks(stream, rows_Q, mask_Q, first_block, BLOCKS: tl.constexpr):
    """So many Philox blocks from `first_block` on: their four words, each [Q, BLOCKS]."""
    row_Q1 = tl.load(stream[0] + rows_Q, mask=mask_Q, other=0).to(tl.uint32)[:, None]
    position_Q1 = tl.load(stream[1] + rows_Q, mask=mask_Q, other=0)[:, None]
    block_1B = (tl.arange(0, BLOCKS) + first_block).to(tl.uint32)[None, :]
    zero_QB = tl.zeros([rows_Q.shape[0], BLOCKS], tl.uint32)
    return tl.philox_impl(
        zero_QB + row_Q1,
        zero_QB + block_1B,
        zero_QB + (position_Q1 & 0xFFFFFFFF).to(tl.uint32),
        zero_QB + (position_Q1 >> 32).to(tl.uint32),
        stream[2].to(tl.uint32, bitcast=True),
        stream[3].to(tl.uint32, bitcast=True),
        PHILOX_ROUNDS,
    )
