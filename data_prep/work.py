"""The work folder: what is already done, kept beside the dataset so that any later run can continue or reuse it.

Invariant: a record is written after everything it speaks of, and says how to recognise it (digests). No record, or a
damaged one, or one whose files are not those it speaks of, means "not done"; leftovers without a record are overwritten
or removed.

Nothing here waits for the disk: whoever is killed, other processes see what was written. What a power failure takes is
noticed by its digest, and made again.

    .work/lock               held while a preparation runs
    .work/published.json     which plan the dataset was made by
    .work/records/ID.json    the result of a finished task
    .work/ID/                its files
"""

import contextlib
import fcntl
import hashlib
import os
import secrets
import shutil
from collections.abc import Callable, Iterator, Set
from pathlib import Path
from typing import Any, TypeVar

from data_prep.blocks import SUFFIX, blocks_digest
from data_prep.errors import InputError
from data_prep.shards import canonical
from data_prep.shards.files import named_errors, place, publish, staged_bytes

WORK_NAME = ".work"

T = TypeVar("T")


class WorkFolder:
    """Records and files of finished tasks, under `OUT/.work`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._records = root / "records"

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Create the folder and hold its lock; InputError when another preparation holds it."""
        with named_errors(self.root, "write"):
            self._records.mkdir(parents=True, exist_ok=True)
            lock = open(self.root / "lock", "a")  # noqa: SIM115 - closed (and so released) below
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise InputError(
                    f"{self.root.parent}: another preparation is writing here; wait for it or stop it"
                ) from error
            yield

    def folder(self, task_id: str) -> Path:
        """Where the files of a task lie."""
        return self.root / task_id

    def new_folder(self, task_id: str) -> Path:
        """The task's folder, made where it is not there."""
        folder = self.folder(task_id)
        with named_errors(folder, "write"):
            folder.mkdir(exist_ok=True)
        return folder

    def adopt(self, task_id: str, name: str, write: Callable[[Path], T]) -> tuple[T, dict[str, str]]:
        """Have `write` fill a new folder and make its files those of the task's folder `name`.

        What `write` returned, and the digests of the files, by their paths in the task's folder, whose other files are
        removed.
        """
        target = self.new_folder(task_id) / name
        staging = target.with_name(f".{name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
        with named_errors(target, "write"):
            target.mkdir(exist_ok=True)
            staging.mkdir()
            try:
                result = write(staging)
                digests = {path.name: file_digest(path) for path in sorted(staging.iterdir())}
                for file in digests:
                    os.replace(staging / file, target / file)
                for path in target.iterdir():
                    if path.name not in digests:
                        path.unlink()
            finally:
                shutil.rmtree(staging, ignore_errors=True)
        return result, {f"{name}/{file}": digest for file, digest in digests.items()}

    def record(self, task_id: str) -> dict[str, Any] | None:
        """The result of a finished task; None when it is not done."""
        return _unsealed(self._record_path(task_id))

    def save_record(self, task_id: str, result: dict[str, Any]) -> None:
        """Declare a task done. Everything it made must be there already."""
        place([staged_bytes(self._record_path(task_id), canonical.encode_sealed(result))])

    def published(self) -> dict[str, Any] | None:
        """What the preparation that published the dataset said of itself; None when nobody did."""
        return _unsealed(self.root / "published.json")

    def save_published(self, content: dict[str, Any]) -> None:
        """Remember which plan the dataset was made by."""
        publish([staged_bytes(self.root / "published.json", canonical.encode_sealed(content))])

    def prune(self, keep: Set[str]) -> None:
        """Remove records and files of all tasks but `keep`, and leftovers of killed ones. No task may be running."""
        with named_errors(self.root, "write"):
            for path in self._records.iterdir():
                if path.name.removesuffix(".json") not in keep:
                    path.unlink()
            for path in self.root.iterdir():
                if path.is_dir() and path != self._records and path.name not in keep:
                    shutil.rmtree(path)
            for path in [*self.root.rglob(".*.tmp")]:
                if path.is_dir():
                    shutil.rmtree(path)
                else:
                    path.unlink(missing_ok=True)

    def _record_path(self, task_id: str) -> Path:
        return self._records / f"{task_id}.json"


def result_digest(path: Path) -> str:
    """What a record says of a file: that of `blocks`, where it is one of those; CorruptionError when it is damaged."""
    return blocks_digest(path) if path.suffix == SUFFIX else file_digest(path)


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with named_errors(path, "read"), open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _unsealed(path: Path) -> dict[str, Any] | None:
    try:
        return canonical.decode_sealed(path.read_bytes())
    except (OSError, ValueError):
        return None
