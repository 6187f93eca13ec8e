"""The plain torch specification of the row-wise kernels.

RMSNorm has its backward written out: a few rows at a time, so that the float32 copies stay in the cache. On CPU this
takes less than half the time of autograd's own chain of whole-tensor steps; the formula is the same.
"""

from typing import Any

import torch

from pipeline.kernels.dropout import Dropout, dropout

_CHUNK_NUMBERS = 2**16


def add_dropout(x_TW: torch.Tensor, drop: Dropout, residual_TW: torch.Tensor | None = None) -> torch.Tensor:
    """`residual_TW` + dropout(`x_TW`)."""
    dropped_TW = dropout(x_TW, drop)
    return dropped_TW if residual_TW is None else residual_TW + dropped_TW


def gated_gelu(gate_TW: torch.Tensor, up_TW: torch.Tensor) -> torch.Tensor:
    """gelu(gate) * up."""
    return torch.nn.functional.gelu(gate_TW, approximate="tanh") * up_TW


def rms_norm(x_TW: torch.Tensor, weight_W: torch.Tensor, epsilon: float) -> torch.Tensor:
    """The normalised rows, in the dtype of `x_TW`."""
    return _RMSNorm.apply(x_TW, weight_W, epsilon)


class _RMSNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x_TW: torch.Tensor, weight_W: torch.Tensor, epsilon: float) -> torch.Tensor:
        wide = torch.promote_types(x_TW.dtype, torch.float32)
        inverse_T1 = torch.empty(len(x_TW), 1, dtype=wide, device=x_TW.device)
        out_TW = torch.empty_like(x_TW)
        for rows in _chunks(x_TW):
            x = x_TW[rows].to(wide)
            inverse_T1[rows] = torch.rsqrt(x.square().mean(-1, keepdim=True) + epsilon)
            out_TW[rows] = x * inverse_T1[rows] * weight_W
        ctx.save_for_backward(x_TW, weight_W, inverse_T1)
        return out_TW

    @staticmethod
    def backward(ctx: Any, *grad_outputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, None]:
        x_TW, weight_W, inverse_T1 = ctx.saved_tensors
        wide = inverse_T1.dtype
        weight, grad_weight_W = weight_W.to(wide), torch.zeros_like(weight_W, dtype=wide)
        grad_x_TW = torch.empty_like(x_TW)
        for rows in _chunks(x_TW):
            normed, grad = x_TW[rows] * inverse_T1[rows], grad_outputs[0][rows].to(wide)
            grad_weight_W += (grad * normed).sum(0)
            grad = grad * weight
            along = (grad * normed).mean(-1, keepdim=True)
            grad_x_TW[rows] = (grad - normed * along) * inverse_T1[rows]
        return grad_x_TW, grad_weight_W.to(weight_W.dtype), None


def _chunks(x_TW: torch.Tensor) -> list[slice]:
    size = max(1, _CHUNK_NUMBERS // x_TW.shape[1]) if x_TW.is_cpu else max(1, len(x_TW))
    return [slice(start, start + size) for start in range(0, len(x_TW), size)]
