"""The C++ kernels' Python side: builds and loads them, owns their outputs. Arguments are contiguous and on CPU."""

import ctypes
from ctypes import POINTER, Structure, c_float, c_int32, c_int64, c_uint32, c_void_p
from functools import cache
from pathlib import Path

import torch

from data_prep import native


class _Stream(Structure):
    _fields_ = (
        *((name, c_void_p) for name in ("rows", "positions")),
        *((name, c_uint32) for name in ("key_low", "key_high", "threshold")),
        ("scale", c_float),
    )


@cache
def library() -> ctypes.CDLL | None:
    """The compiled kernels; None where they cannot be built."""
    loaded = native.load(Path(__file__).with_name("cpu.cpp"), ("-O3", "-fopenmp"))
    if loaded is not None:
        shape = (c_int64, c_int64, c_int32, c_int32)
        loaded.rows_dropout.argtypes = (c_void_p, c_void_p, c_void_p, POINTER(_Stream), *shape)
        loaded.rows_gated_gelu.argtypes = (*[c_void_p] * 3, *shape[1:])
        loaded.rows_gated_gelu_backward.argtypes = (*[c_void_p] * 5, *shape[1:])
        loaded.rows_rms_norm.argtypes = (*[c_void_p] * 4, c_float, *shape)
        loaded.rows_rms_norm_backward.argtypes = (*[c_void_p] * 6, *shape)
    return loaded


@torch.compiler.assume_constant_result
def is_available() -> bool:
    """Whether there are kernels on this machine."""
    return library() is not None


def add_dropout(
    x: torch.Tensor,
    residual: torch.Tensor | None,
    rows: torch.Tensor,
    positions: torch.Tensor,
    stream: list[int],
    scale: float,
) -> torch.Tensor:
    """residual + dropout(x); `rows` and `positions` int64 [T], `stream` is key low, key high, threshold."""
    assert len(rows) == len(positions) == len(x), "a name for each row"
    out = torch.empty_like(x)
    drawn = _Stream(rows.data_ptr(), positions.data_ptr(), *stream, scale)
    _run("rows_dropout", (x, residual, out), ctypes.byref(drawn), *x.shape, like=x)
    return out


def gated_gelu(gate: torch.Tensor, up: torch.Tensor) -> torch.Tensor:
    """gelu(gate) * up."""
    out = torch.empty_like(gate)
    _run("rows_gated_gelu", (gate, up, out), gate.numel(), like=gate)
    return out


def gated_gelu_backward(grad: torch.Tensor, gate: torch.Tensor, up: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Gradients of gate and up."""
    grads = torch.empty_like(gate), torch.empty_like(up)
    _run("rows_gated_gelu_backward", (grad, gate, up, *grads), gate.numel(), like=gate)
    return grads


def rms_norm(x: torch.Tensor, weight: torch.Tensor, epsilon: float) -> tuple[torch.Tensor, torch.Tensor]:
    """The normalised rows, and what each was multiplied by: float32 [T]."""
    out, inverse = torch.empty_like(x), x.new_empty(len(x), dtype=torch.float32)
    _run("rows_rms_norm", (x, weight, out, inverse), epsilon, *x.shape, like=x)
    return out, inverse


def rms_norm_backward(
    grad: torch.Tensor, x: torch.Tensor, weight: torch.Tensor, inverse: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Gradients of x and weight."""
    grads = torch.empty_like(x), torch.empty_like(weight)
    _run("rows_rms_norm_backward", (grad, x, weight, inverse, *grads), *x.shape, like=x)
    return grads


def _run(name: str, tensors: tuple[torch.Tensor | None, ...], *numbers: object, like: torch.Tensor) -> None:
    loaded = library()
    assert loaded is not None, "there are kernels"
    assert all(x is None or x.is_contiguous() for x in tensors), "rows lie one after another"
    pointers = (None if x is None else x.data_ptr() for x in tensors)
    getattr(loaded, name)(*pointers, *numbers, int(like.dtype == torch.bfloat16), torch.get_num_threads())
