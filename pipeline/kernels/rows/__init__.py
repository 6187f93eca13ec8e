"""What a layer does to each row on its own, between its matrix products: dropout with residual, RMSNorm, gated GELU.

Each is one pass over memory, forward and backward: in C++ on CPU, where a compiler is (cpu.py, cpu.cpp), in Triton on a
GPU (triton_rows.py), for float32 and bfloat16. The plain reference (reference.py) is the specification, and computes
the rest. LayerNorm and the exact GELU are torch's own, which are one pass already.

Shape suffixes: T rows, W numbers of a row.
"""

import torch

from pipeline.kernels.dropout import Dropout
from pipeline.kernels.rows import operator, reference

__all__ = ["add_dropout", "gated_gelu", "rms_norm"]


def add_dropout(x_TW: torch.Tensor, drop: Dropout, residual_TW: torch.Tensor | None = None) -> torch.Tensor:
    """`residual_TW` + `x_TW` [T, W] with elements zeroed by `drop`, the others scaled by 1 / (1 - rate).

    Every twin gives the reference's bits: the scaled element is rounded to the dtype of `x_TW`, then the sum is.
    """
    assert residual_TW is None or residual_TW.shape == x_TW.shape, "a residual for each element"
    if operator.fits(x_TW, residual_TW) and operator.can_drop(drop):
        return operator.add_dropout(x_TW, drop, residual_TW)
    return reference.add_dropout(x_TW, drop, residual_TW)


def rms_norm(x_TW: torch.Tensor, weight_W: torch.Tensor, epsilon: float) -> torch.Tensor:
    """x / sqrt(mean(x**2) + epsilon) * weight over each row, in at least float32 inside (Zhang and Sennrich 2019)."""
    if operator.fits(x_TW, weight_W):
        return operator.rms_norm(x_TW, weight_W, epsilon)
    return reference.rms_norm(x_TW, weight_W, epsilon)


def gated_gelu(gate_TW: torch.Tensor, up_TW: torch.Tensor) -> torch.Tensor:
    """gelu(gate) * up, GELU in its tanh form, as T5 v1.1 has it (Shazeer 2020, "GLU variants improve Transformer")."""
    assert gate_TW.shape == up_TW.shape, "a factor for each gate"
    compute = operator.gated_gelu if operator.fits(gate_TW, up_TW) else reference.gated_gelu
    return compute(gate_TW, up_TW)
