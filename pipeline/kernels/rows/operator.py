"""The torch operators behind the row-wise kernels, with fake kernels and autograd for `torch.compile`."""

from collections.abc import Callable
from functools import wraps
from types import ModuleType
from typing import Any

import torch
from torch.library import CustomOpDef

from pipeline.kernels.dropout import Dropout
from pipeline.kernels.packages import is_installed
from pipeline.kernels.philox import probability_threshold
from pipeline.kernels.rows import cpu

Pair = tuple[torch.Tensor, torch.Tensor]


def fits(*tensors: torch.Tensor | None) -> bool:
    """Whether a kernel takes these: all float32 or all bfloat16, on a CPU where it is built or a GPU with Triton."""
    given = [x for x in tensors if x is not None]
    first = given[0]
    if first.dtype not in (torch.float32, torch.bfloat16) or first.dim() != 2:
        return False
    if any(x.dtype != first.dtype or x.device != first.device for x in given):
        return False
    return is_installed("triton") if first.is_cuda else first.is_cpu and cpu.is_available()


def can_drop(drop: Dropout) -> bool:
    """Whether the threshold has 32 bits."""
    return probability_threshold(drop.rate) < 2**32


def _kernels(x: torch.Tensor) -> ModuleType:
    """The functions of `cpu`, for tensors on the device of `x`."""
    if x.is_cpu:
        return cpu
    from pipeline.kernels.rows import triton_rows  # Triton is not installed everywhere

    return triton_rows


def add_dropout(x_TW: torch.Tensor, drop: Dropout, residual_TW: torch.Tensor | None) -> torch.Tensor:
    """`pipeline.kernels.rows.add_dropout` where `fits`."""
    names = (x.to(torch.int64).contiguous() for x in (drop.sample_rows, drop.sample_positions))
    stream = [*drop.key, probability_threshold(drop.rate)]
    residual_TW = None if residual_TW is None else residual_TW.contiguous()
    scale = 1.0 / (1.0 - drop.rate)
    return torch.ops.spanwright.add_dropout(x_TW.contiguous(), residual_TW, *names, stream, scale)


def rms_norm(x_TW: torch.Tensor, weight_W: torch.Tensor, epsilon: float) -> torch.Tensor:
    """`pipeline.kernels.rows.rms_norm` where `fits`."""
    return torch.ops.spanwright.rms_norm(x_TW.contiguous(), weight_W.contiguous(), epsilon)[0]


def gated_gelu(gate_TW: torch.Tensor, up_TW: torch.Tensor) -> torch.Tensor:
    """`pipeline.kernels.rows.gated_gelu` where `fits`."""
    return torch.ops.spanwright.gated_gelu(gate_TW.contiguous(), up_TW.contiguous())


def _operator(kernel: Callable[..., Any]) -> CustomOpDef:
    """The torch operator with name and signature of `kernel`, a function of `cpu`; it runs where its tensors are."""

    @torch.library.custom_op(f"spanwright::{kernel.__name__}", mutates_args=())
    @wraps(kernel)
    def compute(x: torch.Tensor, *others: Any) -> Any:
        return getattr(_kernels(x), kernel.__name__)(x, *others)

    return compute


_add_dropout = _operator(cpu.add_dropout)
_gated_gelu = _operator(cpu.gated_gelu)
_gated_gelu_backward = _operator(cpu.gated_gelu_backward)
_rms_norm = _operator(cpu.rms_norm)
_rms_norm_backward = _operator(cpu.rms_norm_backward)


@_add_dropout.register_fake
@_gated_gelu.register_fake
def _(x: torch.Tensor, *_: Any) -> torch.Tensor:
    return torch.empty_like(x)


@_gated_gelu_backward.register_fake
def _(grad: torch.Tensor, gate: torch.Tensor, up: torch.Tensor) -> Pair:
    return torch.empty_like(gate), torch.empty_like(up)


@_rms_norm.register_fake
def _(x: torch.Tensor, *_: Any) -> Pair:
    return torch.empty_like(x), x.new_empty(len(x), dtype=torch.float32)


@_rms_norm_backward.register_fake
def _(grad: torch.Tensor, x: torch.Tensor, weight: torch.Tensor, inverse: torch.Tensor) -> Pair:
    return torch.empty_like(x), torch.empty_like(weight)


def _keep_stream(ctx: Any, inputs: tuple[Any, ...], output: torch.Tensor) -> None:
    _, _, rows, positions, ctx.stream, ctx.scale = inputs
    ctx.save_for_backward(rows, positions)


def _drop_gradient(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
    # The bits are drawn again: nothing of the size of x is kept.
    by_x = torch.ops.spanwright.add_dropout(grad.contiguous(), None, *ctx.saved_tensors, ctx.stream, ctx.scale)
    return by_x, grad if ctx.needs_input_grad[1] else None, None, None, None, None


_add_dropout.register_autograd(_drop_gradient, setup_context=_keep_stream)


def _keep_gate(ctx: Any, inputs: Pair, output: torch.Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _gate_gradient(ctx: Any, grad: torch.Tensor) -> Pair:
    return torch.ops.spanwright.gated_gelu_backward(grad.contiguous(), *ctx.saved_tensors)


_gated_gelu.register_autograd(_gate_gradient, setup_context=_keep_gate)


def _keep_rows(ctx: Any, inputs: tuple[torch.Tensor, torch.Tensor, float], output: Pair) -> None:
    ctx.mark_non_differentiable(output[1])
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(inputs[0], inputs[1], output[1])


def _norm_gradient(
    ctx: Any, grad: torch.Tensor | None, _: torch.Tensor | None
) -> tuple[torch.Tensor | None, torch.Tensor | None, None]:
    if grad is None:
        return None, None, None
    return *torch.ops.spanwright.rms_norm_backward(grad.contiguous(), *ctx.saved_tensors), None


_rms_norm.register_autograd(_norm_gradient, setup_context=_keep_rows)
