"""The work folder: what is already done, kept beside the dataset so that any later run can continue or reuse it.

Invariant: a record is written after everything it speaks of is on the disk, and says how to recognise it (sizes and
digests). No record, or a damaged one, means "not done"; leftovers without a record are overwritten or removed.

    .work/lock               held while a preparation runs
    .work/inputs.json        digests of input files, by path, size and time of change
    .work/records/ID.json    the result of a finished task
    .work/ID/                its files
"""

import contextlib
import fcntl
import hashlib
import os
import shutil
from collections.abc import Iterator, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

from data_prep.errors import InputError
from data_prep.shards import canonical
from data_prep.shards.files import named_errors, publish, staged_bytes
from data_prep.sources.inputs import InputFile

WORK_NAME = ".work"


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

    def record(self, task_id: str) -> dict[str, Any] | None:
        """The result of a finished task; None when it is not done."""
        try:
            return canonical.decode_sealed(self._record_path(task_id).read_bytes())
        except (OSError, ValueError):
            return None

    def save_record(self, task_id: str, result: dict[str, Any]) -> None:
        """Declare a task done. Everything it made must be on the disk already."""
        publish([staged_bytes(self._record_path(task_id), canonical.encode_sealed(result))])

    def prune(self, keep: Set[str]) -> None:
        """Remove records and files of all tasks but `keep`, and leftovers of killed ones. No task may be running."""
        with named_errors(self.root, "write"):
            for path in self._records.iterdir():
                if path.name.removesuffix(".json") not in keep:
                    path.unlink()
            for path in self.root.iterdir():
                if path.is_dir() and path != self._records and path.name not in keep:
                    shutil.rmtree(path)
            for path in self.root.rglob(".*.tmp"):
                path.unlink()

    def digested(self, files: Sequence[InputFile]) -> list[InputFile]:
        """`files` with their digests; only those that changed since the last time are read (path, size, time)."""
        known = self._known_digests()
        keys = [f"{file.path}\n{file.size}\n{file.modified_ns}" for file in files]
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            digests = list(
                pool.map(
                    lambda pair: known.get(pair[0]) or file_digest(Path(pair[1].path)), zip(keys, files, strict=True)
                )
            )
        if dict(zip(keys, digests, strict=True)) != known:
            content = {"digests": dict(zip(keys, digests, strict=True))}
            publish([staged_bytes(self.root / "inputs.json", canonical.encode_sealed(content))])
        return [replace(file, digest=digest) for file, digest in zip(files, digests, strict=True)]

    def _known_digests(self) -> dict[str, str]:
        try:
            return canonical.decode_sealed((self.root / "inputs.json").read_bytes())["digests"]
        except (OSError, ValueError):
            return {}

    def _record_path(self, task_id: str) -> Path:
        return self._records / f"{task_id}.json"


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with named_errors(path, "read"), open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
