"""The scores of a tile in Triton: bias, key scores, the interval rule, random bits.

Everything of a query comes as [Q, 1], everything of a key as [1, K]: a thread holds few rows and many columns of a
tile, so queries, of which there is more to know, are the rows.
"""

import triton
import triton.language as tl

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
def base2_scores(products, scale, bias, head, reach, index, key_scores, key_rows, key_mask):
    """Scores times log2(e), so that exp2 makes the weights."""
    scores = products * (scale * LOG2_E)
    if bias is not None:
        scores += tl.load(bias + head * (2 * reach + 1) + index) * LOG2_E
    if key_scores is not None:
        scores += tl.load(key_scores + key_rows, mask=key_mask, other=0.0) * LOG2_E
    return scores


@triton.jit
def sees(ranks, a_start, a_stop, b_start, b_stop, query_ranks, query_rows, query_mask, kept):
    """The interval rule; `query_ranks` (may be absent) are the ranks that interval B does not show."""
    seen_b = (ranks >= b_start) & (ranks < b_stop) & kept
    if query_ranks is not None:
        seen_b = seen_b & (ranks != tl.load(query_ranks + query_rows, mask=query_mask, other=0))
    return ((ranks >= a_start) & (ranks < a_stop)) | seen_b


@triton.jit
def draws_below(stream, rows_Q, mask_Q, first_draw, COUNT: tl.constexpr):
    """Whether the 32 bits of draws first_draw (a multiple of 4) and on are below the threshold: [Q, COUNT].

    A stream is (rows [Tq], positions [Tq], key low, key high, threshold), the numbers 32 bits in an int32.
    """
    words = _words(stream, rows_Q, mask_Q, first_draw // DRAWS_PER_BLOCK, COUNT // DRAWS_PER_BLOCK)
    return words < stream[4].to(tl.uint32, bitcast=True)


@triton.jit
def keeps(stream, rows_Q, mask_Q, first_draw, COUNT: tl.constexpr):
    """The same for draws of 16 bits, eight to a block: [Q, COUNT] from first_draw (a multiple of 8) on."""
    words = _words(stream, rows_Q, mask_Q, first_draw // KEEPS_PER_BLOCK, COUNT // KEEPS_PER_BLOCK)
    halves = tl.reshape(tl.join(words & 0xFFFF, words >> 16), (rows_Q.shape[0], COUNT))
    return halves < stream[4].to(tl.uint32, bitcast=True)


@triton.jit
def _words(stream, rows_Q, mask_Q, first_block, BLOCKS: tl.constexpr):
    """The words of so many Philox blocks from `first_block` on: [Q, 4 * BLOCKS]."""
    row_Q1 = tl.load(stream[0] + rows_Q, mask=mask_Q, other=0).to(tl.uint32)[:, None]
    position_Q1 = tl.load(stream[1] + rows_Q, mask=mask_Q, other=0)[:, None]
    block_1B = (tl.arange(0, BLOCKS) + first_block).to(tl.uint32)[None, :]
    zero_QB = tl.zeros([rows_Q.shape[0], BLOCKS], tl.uint32)
    w0, w1, w2, w3 = tl.philox_impl(
        zero_QB + row_Q1,
        zero_QB + block_1B,
        zero_QB + (position_Q1 & 0xFFFFFFFF).to(tl.uint32),
        zero_QB + (position_Q1 >> 32).to(tl.uint32),
        stream[2].to(tl.uint32, bitcast=True),
        stream[3].to(tl.uint32, bitcast=True),
        PHILOX_ROUNDS,
    )
    return tl.reshape(tl.join(tl.join(w0, w2), tl.join(w1, w3)), (rows_Q.shape[0], 4 * BLOCKS))
