"""Whether a checkpoint on disk is exactly what was written: every file there, none more, sizes and digests right.

Invariant: nothing of a file is interpreted before its digest was right. Anything but regular files is refused.
"""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

from data_prep.errors import CorruptionError
from data_prep.shards.files import named_errors, open_regular
from pipeline.checkpoint.format import (
    MANIFEST,
    RECORD,
    FileEntry,
    Manifest,
    Record,
    decode_manifest,
    decode_record,
    plan_files,
)

_MAX_JSON_BYTES = 64 << 20


def verify_checkpoint(folder: Path) -> Record:
    """The record of the checkpoint in `folder`; CorruptionError naming the first file that is not as written."""
    manifest = read_manifest(folder)
    for problem in _problems(folder, manifest):
        raise CorruptionError(problem)
    record = decode_record(_read_regular(folder / RECORD), folder / RECORD)
    if record.step != manifest.step or folder.name != f"step-{record.step:08d}":
        raise CorruptionError(f"{folder}: holds the checkpoint of step {record.step}")
    shapes = {name: tuple(shape) for name, shape in record.parameters.items()}
    for planned in plan_files(shapes):
        if planned.file_name not in manifest.files:
            raise CorruptionError(f"{folder / planned.file_name}: missing in the checkpoint's manifest")
    return record


def audit_checkpoint(folder: Path) -> list[str]:
    """Every problem of the checkpoint in `folder`, a message each; empty when it is valid."""
    try:
        problems = list(_problems(folder, read_manifest(folder)))
        if not problems:
            verify_checkpoint(folder)
        return problems
    except CorruptionError as error:
        return [str(error)]


def read_manifest(folder: Path) -> Manifest:
    """The manifest of the checkpoint in `folder`, or CorruptionError."""
    return decode_manifest(_read_regular(folder / MANIFEST), folder / MANIFEST)


def manifest_digest(folder: Path) -> str:
    """SHA-256 of the manifest's bytes: names the checkpoint's whole content."""
    return hashlib.sha256(_read_regular(folder / MANIFEST)).hexdigest()


def checkpoint_bytes(folder: Path) -> int:
    """Bytes of all files that the manifest lists."""
    return sum(entry.size for entry in read_manifest(folder).files.values())


def read_verified(folder: Path, name: str, entry: FileEntry) -> bytes:
    """The bytes of a file, checked against its entry as they were read; CorruptionError otherwise."""
    data = _read_regular(folder / name, limit=entry.size)
    if len(data) != entry.size or hashlib.sha256(data).hexdigest() != entry.sha256:
        raise CorruptionError(f"{folder / name}: changed since it was written")
    return data


def _problems(folder: Path, manifest: Manifest) -> Iterator[str]:
    extra = sorted({path.name for path in folder.iterdir()} - {*manifest.files, MANIFEST})
    for name in extra:
        yield f"{folder / name}: not part of the checkpoint"
    for name, entry in sorted(manifest.files.items()):
        try:
            problem = _file_problem(folder / name, entry)
        except CorruptionError as error:
            problem = str(error)
        if problem:
            yield problem


def _file_problem(path: Path, entry: FileEntry) -> str | None:
    with open_regular(path, advice="") as descriptor, named_errors(path, "read"):
        size = os.fstat(descriptor).st_size
        if size != entry.size:
            return f"{path}: {size} bytes where the manifest says {entry.size}"
        with open(descriptor, "rb", closefd=False) as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    return None if digest == entry.sha256 else f"{path}: changed since it was written (its sha256 is another)"


def _read_regular(path: Path, limit: int = _MAX_JSON_BYTES) -> bytes:
    with (
        open_regular(path, advice="") as descriptor,
        named_errors(path, "read"),
        open(descriptor, "rb", closefd=False) as file,
    ):
        data = file.read(limit + 1)
    if len(data) > limit:
        raise CorruptionError(f"{path}: longer than it can be")
    return data
