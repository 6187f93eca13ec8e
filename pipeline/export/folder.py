"""The folder of an export, whatever its format.

Invariant: `out` is absent, the previous export, or a complete one: everything is written to a temporary folder beside
it, checked, flushed, and renamed. What a killed process left of such a folder goes when the next one begins. Weights
are safetensors, written a tensor at a time, in files of bounded size with an index beside them where one is not enough.
"""

import contextlib
import fcntl
import json
import math
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from data_prep.errors import InputError, SpanwrightError
from data_prep.shards.files import sync_folder
from pipeline.checkpoint.tensors import file_header
from pipeline.export.libraries import library

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
SHARD_BYTES = 5_000_000_000  # transformers' own default is 50 GB; hubs and people prefer files they can fetch again
INDEX_NAME = "model.safetensors.index.json"
_SINGLE_NAME = "model.safetensors"
_NEW = "new"

Write = Callable[[Path], None]


class Stored(NamedTuple):
    """A tensor to be written: `make` is called when its turn comes."""

    name: str
    shape: tuple[int, ...]
    make: Callable[[], torch.Tensor]


def publish_folder(out: Path, write: Write, check: Write | None = None) -> Path:
    """Let `write` fill a new folder and `check` look at it (and add what it found), then rename it to `out`.

    What either raises keeps `out` as it was; a previous export at `out` is replaced. Raises SpanwrightError when it
    cannot be written.
    """
    out = Path(out).absolute()
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with _scratch_beside(out) as scratch:
            folder = scratch / _NEW
            folder.mkdir()
            write(folder)
            if check is not None:
                check(folder)
            _flush(folder)
            if out.exists():
                os.rename(out, scratch / "old")
            os.rename(folder, out)
            sync_folder(out.parent)
    except (OSError, library("safetensors").SafetensorError) as error:
        raise SpanwrightError(f"{out}: cannot write the export: {error}") from error
    return out


@contextlib.contextmanager
def _scratch_beside(out: Path) -> Iterator[Path]:
    """A new folder, which this process locks while it is there; such folders that nobody locks any more go first."""
    prefix = f".{out.name}."
    with contextlib.ExitStack() as stack:
        with _locked(out.parent) as alone:  # so that none is taken for abandoned before it is locked
            if alone:
                _remove_abandoned(out.parent, prefix)
            made = tempfile.TemporaryDirectory(dir=out.parent, prefix=prefix)
            stack.enter_context(_locked(Path(made.name)))
            stack.enter_context(made)
        yield Path(made.name)


def _remove_abandoned(parent: Path, prefix: str) -> None:
    for left in parent.iterdir():
        if left.name.startswith(prefix) and (left / _NEW).is_dir():
            with _locked(left, fcntl.LOCK_NB) as abandoned:
                if abandoned:
                    shutil.rmtree(left, ignore_errors=True)


@contextlib.contextmanager
def _locked(folder: Path, more: int = 0) -> Iterator[bool]:
    """Hold the lock of `folder`; False where another process holds it, or this file system has no such locks."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | more)
        except OSError:
            yield False
        else:
            yield True
    finally:
        os.close(descriptor)


def write_json(path: Path, fields: Mapping[str, Any] | Sequence[Any]) -> None:
    """`fields` as a JSON file for people too."""
    path.write_text(json.dumps(fields, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def write_weights(folder: Path, tensors: Sequence[Stored], dtype: torch.dtype, shard_bytes: int = SHARD_BYTES) -> None:
    """`tensors` as model.safetensors, or as numbered files of at most `shard_bytes` (or one tensor) and their index."""
    shards = list(_shards(tensors, dtype.itemsize, shard_bytes))
    if len(shards) == 1:
        _write_file(folder / _SINGLE_NAME, shards[0], dtype)
        return
    places: dict[str, str] = {}
    for number, shard in enumerate(shards, start=1):
        name = f"model-{number:05d}-of-{len(shards):05d}.safetensors"
        _write_file(folder / name, shard, dtype)
        places |= {tensor.name: name for tensor in shard}
    size = sum(math.prod(tensor.shape) for tensor in tensors) * dtype.itemsize
    write_json(folder / INDEX_NAME, {"metadata": {"total_size": size}, "weight_map": places})


def read_stored(folder: Path) -> dict[str, Path]:
    """{tensor: the file it lies in} of a folder with safetensors, by its index or its one file; {} if there are none.

    A name in an index that is not that of a file in `folder` is refused.
    """
    index = folder / INDEX_NAME
    if index.is_file():
        places = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        if any(Path(file).name != file for file in places.values()):
            raise InputError(f"{index}: names a file outside its folder")
        return {name: folder / file for name, file in places.items()}
    if not (folder / _SINGLE_NAME).is_file():
        return {}
    with library("safetensors").safe_open(folder / _SINGLE_NAME, "pt") as file:
        return dict.fromkeys(file.keys(), folder / _SINGLE_NAME)


def read_tensor(places: Mapping[str, Path], name: str) -> torch.Tensor:
    """The tensor `name` of `read_stored`, alone."""
    with library("safetensors").safe_open(places[name], "pt") as file:
        tensor: torch.Tensor = file.get_tensor(name)
    return tensor


def _shards(tensors: Sequence[Stored], itemsize: int, shard_bytes: int) -> Iterator[list[Stored]]:
    shard: list[Stored] = []
    room = shard_bytes
    for tensor in tensors:
        size = math.prod(tensor.shape) * itemsize
        if shard and size > room:
            yield shard
            shard, room = [], shard_bytes
        shard.append(tensor)
        room -= size
    yield shard


def _write_file(path: Path, tensors: Sequence[Stored], dtype: torch.dtype) -> None:
    layout = [(tensor.name, dtype, tensor.shape) for tensor in tensors]
    with open(path, "wb") as file:
        file.write(file_header(layout, {"format": "pt"}))
        for tensor in tensors:
            made = tensor.make().detach().to("cpu", dtype).contiguous()
            assert tuple(made.shape) == tensor.shape, tensor.name
            file.write(made.reshape(-1).view(torch.uint8).numpy().data)


def _flush(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            with open(path, "rb") as file:
                os.fsync(file.fileno())
        else:
            sync_folder(path)
    sync_folder(folder)
