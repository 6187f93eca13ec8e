"""Tensors in a checkpoint's safetensors files, written in pieces and read back only when they are what the record says.

`safetensors.torch.save` builds a file in memory while it holds the interpreter's lock, which would stop the training
that goes on beside a save. The format (8 bytes of length, a JSON header, the tensors' bytes) is written here in pieces
instead; it is read by the library.
"""

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from data_prep.errors import CorruptionError
from pipeline.checkpoint.format import FileEntry
from pipeline.checkpoint.store import Folder, Part
from pipeline.checkpoint.verify import read_verified

_DTYPES = {
    torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.int64: "I64",
    torch.int32: "I32", torch.int16: "I16", torch.int8: "I8", torch.uint8: "U8", torch.bool: "BOOL",
}  # fmt: skip


def file_parts(tensors: Mapping[str, Tensor]) -> Iterator[Part]:
    """The safetensors file of contiguous CPU `tensors` in pieces that share their memory.

    In the library's order (the widest dtype first, then by name), so that the bytes are those it would write.
    """
    ordered = sorted(tensors.items(), key=lambda item: (-item[1].element_size(), item[0]))
    yield file_header((name, tensor.dtype, tuple(tensor.shape)) for name, tensor in ordered)
    for _, tensor in ordered:
        if tensor.numel():
            yield tensor.reshape(-1).view(torch.uint8).numpy().data


def file_header(
    tensors: Iterable[tuple[str, torch.dtype, tuple[int, ...]]], metadata: Mapping[str, str] | None = None
) -> bytes:
    """What stands before the bytes of `tensors` (name, dtype, shape), which follow in this order."""
    header: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    offset = 0
    for name, dtype, shape in tensors:
        end = offset + math.prod(shape) * dtype.itemsize
        header[name] = {"dtype": _DTYPES[dtype], "shape": list(shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def read_tensors(
    folder: Folder,
    name: str,
    entry: FileEntry,
    shapes: Mapping[str, tuple[int, ...]],
    dtype: torch.dtype | None = torch.float32,
) -> dict[str, Tensor]:
    """The tensors of a file whose digest is right; CorruptionError unless they are exactly `shapes`, of `dtype`."""
    data = read_verified(folder, name, entry)
    try:
        tensors = safetensors.torch.load(data)
    except (safetensors.SafetensorError, ValueError, KeyError, TypeError, RuntimeError):
        raise CorruptionError(f"{folder.path(name)}: not a safetensors file") from None
    found = {key: tuple(tensor.shape) for key, tensor in tensors.items()}
    if found != dict(shapes) or (dtype and any(tensor.dtype != dtype for tensor in tensors.values())):
        raise CorruptionError(f"{folder.path(name)}: holds other tensors than the checkpoint's record says")
    return tensors
