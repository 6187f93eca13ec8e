"""Whether a stored checkpoint is exactly what was written: every file there, none more, sizes and digests right.

Invariant: nothing of a file is interpreted before its digest was right. Anything but regular files is refused.
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path

from data_prep.errors import CorruptionError
from pipeline.checkpoint.format import (
    MANIFEST,
    RECORD,
    FileEntry,
    Manifest,
    Record,
    decode_manifest,
    decode_record,
    expected_files,
    folder_name,
)
from pipeline.checkpoint.places import open_folder
from pipeline.checkpoint.store import Folder

MAX_JSON_BYTES = 64 << 20


def verify_checkpoint(place: Folder | Path | str) -> Record:
    """The record of the checkpoint at `place`; CorruptionError naming the first file that is not as written."""
    folder = open_folder(place)
    manifest = read_manifest(folder)
    for problem in _problems(folder, manifest):
        raise CorruptionError(problem)
    record = decode_record(folder.read(RECORD, MAX_JSON_BYTES), folder.path(RECORD))
    if record.step != manifest.step or folder.name != folder_name(record.step):
        raise CorruptionError(f"{folder}: holds the checkpoint of step {record.step}")
    for name in expected_files(record):
        if name not in manifest.files:
            raise CorruptionError(f"{folder.path(name)}: missing in the checkpoint's manifest")
    return record


def audit_checkpoint(place: Folder | Path | str) -> list[str]:
    """Every problem of the checkpoint at `place`, a message each; empty when it is valid."""
    folder = open_folder(place)
    try:
        problems = list(_problems(folder, read_manifest(folder)))
        if not problems:
            verify_checkpoint(folder)
        return problems
    except CorruptionError as error:
        return [str(error)]


def read_manifest(folder: Folder) -> Manifest:
    """The manifest of the checkpoint in `folder`, or CorruptionError."""
    return decode_manifest(folder.read(MANIFEST, MAX_JSON_BYTES), folder.path(MANIFEST))


def manifest_digest(folder: Folder) -> str:
    """SHA-256 of the manifest's bytes: names the checkpoint's whole content."""
    return hashlib.sha256(folder.read(MANIFEST, MAX_JSON_BYTES)).hexdigest()


def checkpoint_bytes(place: Folder | Path | str) -> int:
    """Bytes of all files that the manifest lists."""
    return sum(entry.size for entry in read_manifest(open_folder(place)).files.values())


def read_verified(folder: Folder, name: str, entry: FileEntry) -> bytes:
    """The bytes of a file, checked against its entry as they were read; CorruptionError otherwise."""
    data = folder.read(name, limit=entry.size)
    if len(data) != entry.size or hashlib.sha256(data).hexdigest() != entry.sha256:
        raise CorruptionError(f"{folder.path(name)}: changed since it was written")
    return data


def _problems(folder: Folder, manifest: Manifest) -> Iterator[str]:
    for name in sorted({*folder.names()} - {*manifest.files, MANIFEST}):
        yield f"{folder.path(name)}: not part of the checkpoint"
    for name, entry in sorted(manifest.files.items()):
        try:
            problem = _file_problem(folder, name, entry)
        except CorruptionError as error:
            problem = str(error)
        if problem:
            yield problem


def _file_problem(folder: Folder, name: str, entry: FileEntry) -> str | None:
    found = folder.measure(name)
    if found.size != entry.size:
        return f"{folder.path(name)}: {found.size} bytes where the manifest says {entry.size}"
    if found.sha256 != entry.sha256:
        return f"{folder.path(name)}: changed since it was written (its sha256 is another)"
    return None
