"""Save the training state: all of it or nothing.

Invariant: a folder under its final name holds a whole checkpoint. A save that fails on any rank fails on every rank
with one message and leaves the earlier checkpoints as they were.

1. rank 0 makes a temporary folder
2. every parameter is gathered; each file's owner (file number modulo ranks) writes it, flushed to the disk
3. every rank writes its generators
4. rank 0 writes the record, then the manifest, flushes the folder, renames it, flushes its parent
5. rank 0 removes old checkpoints
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import safetensors.torch

from data_prep.errors import SpanwrightError
from data_prep.shards.files import named_errors, sync_folder
from pipeline.checkpoint.config import CheckpointConfig
from pipeline.checkpoint.format import (
    FORMAT_VERSION,
    MANIFEST,
    RECORD,
    FileEntry,
    Manifest,
    Record,
    encode_manifest,
    plan_files,
    rng_file,
    step_folder,
)
from pipeline.checkpoint.retention import remove_leftovers, remove_old, set_aside
from pipeline.checkpoint.rng import capture_generators
from pipeline.checkpoint.state import TrainingState
from pipeline.training.collective import gather_json, raise_together
from pipeline.training.rank import Rank

_SAVING = ".saving-"

Files = dict[str, FileEntry]


def save_checkpoint(root: Path, record: Record, state: TrainingState, rank: Rank, keep: CheckpointConfig) -> Path:
    """Save the state after `record.step` updates below `root`; returns the checkpoint's folder. Collective.

    Raises SpanwrightError on every rank when any rank cannot write.
    """
    target = step_folder(root, record.step)
    temporary = target.with_name(f"{_SAVING}{target.name}")
    _together(lambda: _make_folder(root, temporary) if rank.is_first else None, target)
    try:
        files = _write_parameters(temporary, target, state, rank)
        _together(lambda: files.update(_write_generators(temporary, rank)), target)
        everything = {name: FileEntry(**entry) for part in _gathered(files) for name, entry in part.items()}
        _together(lambda: _publish(temporary, target, record, everything) if rank.is_first else None, target)
    except SpanwrightError:
        if rank.is_first:
            shutil.rmtree(temporary, ignore_errors=True)
        raise
    _together(lambda: remove_old(root, keep, record.step) if rank.is_first else None, target)
    return target


def _together(action: Callable[[], object], target: Path) -> None:
    """Do this rank's part; when any rank fails, all raise."""
    error: Exception | None = None
    try:
        action()
    except (OSError, SpanwrightError) as caught:
        error = SpanwrightError(f"the checkpoint {target.name} could not be saved: {caught}")
    raise_together(error)


def _gathered(files: Files) -> list[dict[str, dict[str, Any]]]:
    return gather_json({name: entry.model_dump() for name, entry in files.items()})


def _make_folder(root: Path, temporary: Path) -> None:
    with named_errors(root, "write"):
        root.mkdir(parents=True, exist_ok=True)
        remove_leftovers(root, (_SAVING, ".removing-"))
        temporary.mkdir()


def _write_parameters(temporary: Path, target: Path, state: TrainingState, rank: Rank) -> Files:
    """Write the files this rank owns. Every rank helps to gather all of them, even after its own write failed."""
    files: Files = {}
    error: Exception | None = None
    for number, planned in enumerate(plan_files(state.shapes)):
        mine = number % rank.world_size == rank.index
        tensors = {}
        for name in planned.names:
            value = state.read(name, planned.kind)
            if mine:
                tensors[name] = value
        if mine and error is None:
            try:
                files |= _write(temporary, planned.file_name, safetensors.torch.save(tensors))
            except (OSError, SpanwrightError) as caught:
                error = SpanwrightError(f"the checkpoint {target.name} could not be saved: {caught}")
    raise_together(error)
    return files


def _write_generators(temporary: Path, rank: Rank) -> Files:
    return _write(temporary, rng_file(rank.index), json.dumps(capture_generators()).encode())


def _publish(temporary: Path, target: Path, record: Record, files: Files) -> None:
    files |= _write(temporary, RECORD, record.model_dump_json(indent=1).encode())
    manifest = Manifest(format_version=FORMAT_VERSION, step=record.step, files=dict(sorted(files.items())))
    _write(temporary, MANIFEST, encode_manifest(manifest))
    sync_folder(temporary)
    with named_errors(target, "write"):
        if target.exists():  # left by a run that went on from an older checkpoint
            set_aside(target)
        os.replace(temporary, target)
    sync_folder(target.parent)


def _write(folder: Path, name: str, data: bytes) -> Files:
    path = folder / name
    with named_errors(path, "write"), open(path, "xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    return {name: FileEntry(size=len(data), sha256=hashlib.sha256(data).hexdigest())}
