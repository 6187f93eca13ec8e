"""The row-wise kernels in Triton; the functions of `cpu`, on a GPU. Sums follow from the shape alone: bits repeat.

Shape suffixes: R rows and W numbers of a row in one step of a program.
"""

import torch
import triton
import triton.language as tl

from pipeline.kernels.attention.triton_scores import draws_below
from pipeline.kernels.fusion import APART, FUSED
from pipeline.kernels.philox import as_int32

_ROWS, _DRAWS = 8, 128  # of a program of dropout
_STRETCH = 1024  # numbers of a program of the gate
_GROUPS = 512  # of rows, at most: each sums the gradient of a norm's weight by itself
_CUBIC, _TWICE_ROOT = tl.constexpr(0.044715), tl.constexpr(1.5957691216057308)  # the second is 2 * sqrt(2 / pi)


def add_dropout(
    x: torch.Tensor,
    residual: torch.Tensor | None,
    rows: torch.Tensor,
    positions: torch.Tensor,
    stream: list[int],
    scale: float,
) -> torch.Tensor:
    """residual + dropout(x)."""
    out = torch.empty_like(x)
    num_rows, width = x.shape
    rounded = float(torch.tensor(scale, dtype=x.dtype))
    grid = (triton.cdiv(num_rows, _ROWS), triton.cdiv(width, _DRAWS))
    numbers = (*(as_int32(word) for word in stream), rounded, num_rows, width)
    if x.numel():  # without fused multiply-adds: float32 sums are rounded as the reference's
        sizes = {"ROWS": _ROWS, "DRAWS": _DRAWS}
        _add_dropout[grid](x, residual, out, rows, positions, *numbers, **sizes, **APART)
    return out


@triton.jit(do_not_specialize=["key_low", "key_high", "threshold", "scale", "num_rows"])
def _add_dropout(
    x, residual, out, rows, positions, key_low, key_high, threshold, scale, num_rows, width,
    ROWS: tl.constexpr, DRAWS: tl.constexpr,
):  # fmt: skip
    rows_R = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    first = tl.program_id(1) * DRAWS
    columns_W = first + tl.arange(0, DRAWS)
    mask_R = rows_R < num_rows
    inside = mask_R[:, None] & (columns_W < width)[None, :]
    at = rows_R.to(tl.int64)[:, None] * width + columns_W[None, :]
    dropped = draws_below((rows, positions, key_low, key_high, threshold), rows_R, mask_R, first, DRAWS)
    y = tl.load(x + at, mask=inside, other=0.0).to(tl.float32) * tl.where(dropped, 0.0, scale)
    if residual is not None:
        y = tl.load(residual + at, mask=inside, other=0.0).to(tl.float32) + y.to(x.dtype.element_ty).to(tl.float32)
    tl.store(out + at, y.to(x.dtype.element_ty), mask=inside)


def gated_gelu(gate: torch.Tensor, up: torch.Tensor) -> torch.Tensor:
    """gelu(gate) * up."""
    out, count = torch.empty_like(gate), gate.numel()
    if count:
        _gated_gelu[(triton.cdiv(count, _STRETCH),)](gate, up, out, count, STRETCH=_STRETCH, **FUSED)
    return out


def gated_gelu_backward(grad: torch.Tensor, gate: torch.Tensor, up: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Gradients of gate and up."""
    grads, count = (torch.empty_like(gate), torch.empty_like(up)), gate.numel()
    if count:
        _gated_gelu_backward[(triton.cdiv(count, _STRETCH),)](grad, gate, up, *grads, count, STRETCH=_STRETCH, **FUSED)
    return grads


@triton.jit
def _share(x):
    """GELU in its tanh form is x times this."""
    return tl.sigmoid(x * (_TWICE_ROOT + _TWICE_ROOT * _CUBIC * x * x))


@triton.jit
def _gated_gelu(gate, up, out, count, STRETCH: tl.constexpr):
    at = tl.program_id(0).to(tl.int64) * STRETCH + tl.arange(0, STRETCH)
    x = tl.load(gate + at, mask=at < count, other=0.0).to(tl.float32)
    y = x * _share(x) * tl.load(up + at, mask=at < count, other=0.0).to(tl.float32)
    tl.store(out + at, y.to(out.dtype.element_ty), mask=at < count)


@triton.jit
def _gated_gelu_backward(grad, gate, up, grad_gate, grad_up, count, STRETCH: tl.constexpr):
    at = tl.program_id(0).to(tl.int64) * STRETCH + tl.arange(0, STRETCH)
    x = tl.load(gate + at, mask=at < count, other=0.0).to(tl.float32)
    by_out = tl.load(grad + at, mask=at < count, other=0.0).to(tl.float32)
    by_gelu = by_out * tl.load(up + at, mask=at < count, other=0.0).to(tl.float32)
    share = _share(x)
    slope = share + x * share * (1.0 - share) * (_TWICE_ROOT + 3 * _TWICE_ROOT * _CUBIC * x * x)
    tl.store(grad_up + at, (by_out * x * share).to(grad_up.dtype.element_ty), mask=at < count)
    tl.store(grad_gate + at, (by_gelu * slope).to(grad_gate.dtype.element_ty), mask=at < count)


def rms_norm(x: torch.Tensor, weight: torch.Tensor, epsilon: float) -> tuple[torch.Tensor, torch.Tensor]:
    """The normalised rows, and what each was multiplied by: float32 [T]."""
    out, inverse = torch.empty_like(x), x.new_empty(len(x), dtype=torch.float32)
    if len(x):
        size = triton.next_power_of_2(x.shape[1])
        _rms_norm[(len(x),)](x, weight, out, inverse, epsilon, x.shape[1], WIDTH=size, **FUSED)
    return out, inverse


def rms_norm_backward(
    grad: torch.Tensor, x: torch.Tensor, weight: torch.Tensor, inverse: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Gradients of x and weight."""
    num_rows, width = x.shape
    rows_of_group = max(1, triton.cdiv(num_rows, _GROUPS))
    groups = triton.cdiv(num_rows, rows_of_group)
    grad_x, shares = torch.empty_like(x), x.new_empty((groups, width), dtype=torch.float32)
    numbers = (num_rows, rows_of_group, width)
    if groups:
        size = triton.next_power_of_2(width)
        _rms_norm_backward[(groups,)](grad, x, weight, inverse, grad_x, shares, *numbers, WIDTH=size, **FUSED)
    return grad_x, shares.sum(0).to(weight.dtype)


@triton.jit(do_not_specialize=["epsilon"])
def _rms_norm(x, weight, out, inverse, epsilon, width, WIDTH: tl.constexpr):
    row, columns_W = tl.program_id(0), tl.arange(0, WIDTH)
    at = row.to(tl.int64) * width + columns_W
    inside = columns_W < width
    x_W = tl.load(x + at, mask=inside, other=0.0).to(tl.float32)
    by = 1.0 / tl.sqrt(tl.sum(x_W * x_W, 0) / width + epsilon)
    tl.store(inverse + row, by)
    weight_W = tl.load(weight + columns_W, mask=inside, other=0.0).to(tl.float32)
    tl.store(out + at, (x_W * by * weight_W).to(out.dtype.element_ty), mask=inside)


@triton.jit(do_not_specialize=["num_rows", "rows_of_group"])
def _rms_norm_backward(grad, x, weight, inverse, grad_x, shares, num_rows, rows_of_group, width, WIDTH: tl.constexpr):
    group, columns_W = tl.program_id(0).to(tl.int64), tl.arange(0, WIDTH)
    inside = columns_W < width
    weight_W = tl.load(weight + columns_W, mask=inside, other=0.0).to(tl.float32)
    share_W = tl.zeros([WIDTH], tl.float32)
    for row in range(group * rows_of_group, tl.minimum((group + 1) * rows_of_group, num_rows)):
        at = row * width + columns_W  # 64 bits, as the bounds are
        by = tl.load(inverse + row)
        normed_W = tl.load(x + at, mask=inside, other=0.0).to(tl.float32) * by
        by_out_W = tl.load(grad + at, mask=inside, other=0.0).to(tl.float32)
        share_W += by_out_W * normed_W
        by_normed_W = by_out_W * weight_W
        along = tl.sum(by_normed_W * normed_W, 0) / width
        tl.store(grad_x + at, ((by_normed_W - normed_W * along) * by).to(grad_x.dtype.element_ty), mask=inside)
    tl.store(shares + group * width + columns_W, share_W, mask=inside)
