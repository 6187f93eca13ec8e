"""A chunk of logits on a CPU: their loss, and their gradient in their place, by the C++ kernel.

Plain torch reads and writes a row ten times, in operations that each wake all threads for four rows.

Shape suffixes: C rows of the chunk, V vocabulary.
"""

import ctypes
from ctypes import c_float, c_int32, c_int64, c_void_p
from functools import cache
from pathlib import Path

import torch

from data_prep import native


@cache
def library() -> ctypes.CDLL | None:
    """The compiled kernel; None where it cannot be built."""
    loaded = native.load(Path(__file__).with_name("cpu.cpp"), ("-O3", "-fopenmp"))
    if loaded is not None:
        sizes, terms, how = (c_int64, c_int64), (c_float, c_float), (c_int32, c_int32, c_int32)
        loaded.cross_entropy_rows.argtypes = (c_void_p, c_void_p, c_void_p, *sizes, *terms, *how)
    return loaded


def fits(states: torch.Tensor) -> bool:
    """Whether the kernel takes logits made of these: float32 or bfloat16 on a CPU, where it is built."""
    return states.is_cpu and states.dtype in (torch.float32, torch.bfloat16) and is_available()


@torch.compiler.assume_constant_result
def is_available() -> bool:
    """Whether there is a kernel; asked, not traced, by `torch.compile`."""
    return library() is not None


def loss_and_gradient(
    logits_CV: torch.Tensor, labels_C: torch.Tensor, z_loss: float, label_smoothing: float, wanted: bool
) -> torch.Tensor:
    """As in reference.py, within rounding; logits are contiguous, labels int64."""
    return torch.ops.spanwright.cross_entropy_rows_(logits_CV, labels_C, z_loss, label_smoothing, wanted).sum()


@torch.library.custom_op("spanwright::cross_entropy_rows_", mutates_args=("logits",))
def _cross_entropy_rows(
    logits: torch.Tensor, labels: torch.Tensor, z_loss: float, label_smoothing: float, wanted: bool
) -> torch.Tensor:
    loaded = library()
    assert loaded is not None, "there is a kernel"
    assert all(tensor.is_contiguous() for tensor in (logits, labels)), "rows lie one after another"
    assert (labels.dtype, len(labels)) == (torch.int64, len(logits)), "a label for each row"
    losses = logits.new_empty(len(logits), dtype=torch.float32)
    addresses = (tensor.data_ptr() for tensor in (logits, labels, losses))
    how = (int(wanted), int(logits.dtype == torch.bfloat16), torch.get_num_threads())
    loaded.cross_entropy_rows(*addresses, *logits.shape, z_loss, label_smoothing, *how)
    return losses


@_cross_entropy_rows.register_fake
def _(logits: torch.Tensor, labels: torch.Tensor, z_loss: float, label_smoothing: float, wanted: bool) -> torch.Tensor:
    return logits.new_empty(len(logits), dtype=torch.float32)
