"""FIRE's bias in Triton: see fire.py for the formula, and for what pieces and breaks are.

In a tile only the breaks between its least and greatest distance matter, and those are few: distances grow with a
logarithm. An element's piece is decided by comparing it with breaks, so its value does not depend on the tile.

Shape suffixes: Q queries and K keys of a tile, S pieces (rounded up to a power of two).
"""

import triton
import triton.language as tl

EPSILON = tl.constexpr(1e-6)
SMALLEST = tl.constexpr(1e-6)  # c when its gradient is taken


@triton.jit
def fire_norms(extents, shape, rows_Q, mask_Q):
    """What the queries' logarithms are multiplied by [Q], and how that changes with c and with L."""
    c, threshold = tl.load(shape), tl.load(shape + 1)
    extent_Q = tl.load(extents + rows_Q, mask=mask_Q, other=0).to(tl.float32)
    longest_Q = tl.where(extent_Q <= threshold, threshold, extent_Q)
    norm_Q = 1.0 / (tl.log(c * longest_Q + 1.0) + EPSILON)
    slope_Q = -norm_Q * norm_Q / (c * longest_Q + 1.0)
    return norm_Q, slope_Q * longest_Q, tl.where(extent_Q <= threshold, slope_Q * c, 0.0)


@triton.jit
def _logarithm(difference, c):
    logarithm = tl.log(c * tl.abs(difference) + 1.0)
    return tl.where(difference < 0.0, -logarithm, logarithm)


@triton.jit
def fire_distances(position_Q, position_K, norm_Q, shape):
    """x [Q, K] of the position differences."""
    difference = (position_Q[:, None] - position_K[None, :]).to(tl.float32)
    return _logarithm(difference, tl.load(shape)) * norm_Q[:, None]


@triton.jit
def fire_tangents(x, norm_Q, shape):
    """How log(c |d| + 1) changes with c, |d| / (c |d| + 1), with the sign of x [Q, K]: from x, to keep its layout."""
    flattened = (1.0 - tl.exp(-tl.abs(x) / norm_Q[:, None])) / tl.maximum(tl.load(shape), SMALLEST)
    return tl.where(x < 0.0, -flattened, flattened)


@triton.jit
def fire_breaks_within(
    position_Q, position_K, norm_Q, shape, breaks, NUM_BREAKS: tl.constexpr, PIECES: tl.constexpr
):  # fmt: skip
    """How many breaks lie below all distances of a tile, and below some: by its extremes, not by its elements."""
    c = tl.load(shape)
    least = _logarithm((tl.min(position_Q) - tl.max(position_K)).to(tl.float32), c)
    most = _logarithm((tl.max(position_Q) - tl.min(position_K)).to(tl.float32), c)
    least *= tl.where(least < 0.0, tl.max(norm_Q), tl.min(norm_Q))
    most *= tl.where(most < 0.0, tl.min(norm_Q), tl.max(norm_Q))
    at_S = tl.arange(0, PIECES)
    breaks_S = tl.load(breaks + at_S, mask=at_S < NUM_BREAKS, other=float("inf"))
    return tl.sum((breaks_S < least).to(tl.int32)), tl.sum((breaks_S < most).to(tl.int32))


@triton.jit
def add_fire(scores, x, below, reached, breaks, pieces, head, num_heads, scale, NUM_BREAKS: tl.constexpr):
    """`scores` plus `scale` times the bias of one head at the distances x [Q, K], which lie on pieces below .. reached.

    From the lowest piece on, each break adds its change of slope: so all stays in the layout of the scores.
    """
    intercepts = pieces + head * (NUM_BREAKS + 1)
    slopes = intercepts + num_heads * (NUM_BREAKS + 1)
    scores += (tl.load(slopes + below) * scale) * x + tl.load(intercepts + below) * scale
    for k in range(below, reached):
        change = (tl.load(slopes + k + 1) - tl.load(slopes + k)) * scale
        scores += change * tl.maximum(x - tl.load(breaks + k), 0.0)
    return scores


@triton.jit
def add_fire_gradient(sums_S, sums_x_S, x, below, reached, grads, breaks, slopes, PIECES: tl.constexpr):
    """The sums of `grads` and of `grads * x` over each piece, with these [Q, K] added; and `grads` times the slope."""
    at_S = tl.arange(0, PIECES)
    left, left_x = tl.sum(grads), tl.sum(grads * x)
    steep = grads * tl.load(slopes + below)
    for k in range(below, reached):
        beyond = tl.where(x > tl.load(breaks + k), grads, 0.0)
        steep += beyond * (tl.load(slopes + k + 1) - tl.load(slopes + k))
        more, more_x = tl.sum(beyond), tl.sum(beyond * x)
        sums_S += tl.where(at_S == k, left - more, 0.0)
        sums_x_S += tl.where(at_S == k, left_x - more_x, 0.0)
        left, left_x = more, more_x
    sums_S += tl.where(at_S == reached, left, 0.0)
    sums_x_S += tl.where(at_S == reached, left_x, 0.0)
    return sums_S, sums_x_S, steep


@triton.jit
def store_fire_gradient(
    share, sums_S, sums_x_S, by_x_Q, by_tangent_Q, norms, NUM_BREAKS: tl.constexpr, PIECES: tl.constexpr
):  # fmt: skip
    """A program's share: the sums of the intercepts, of the slopes, of c and of L."""
    at_S = tl.arange(0, PIECES)
    tl.store(share + at_S, sums_S, mask=at_S <= NUM_BREAKS)
    tl.store(share + NUM_BREAKS + 1 + at_S, sums_x_S, mask=at_S <= NUM_BREAKS)
    tl.store(share + 2 * NUM_BREAKS + 2, tl.sum(by_tangent_Q * norms[0] + by_x_Q * norms[1] / norms[0]))
    tl.store(share + 2 * NUM_BREAKS + 3, tl.sum(by_x_Q * norms[2] / norms[0]))
