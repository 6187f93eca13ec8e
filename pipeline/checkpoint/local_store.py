"""Checkpoints in a folder of this machine, or of a file system that all ranks share.

1. `begin`    .saving-step-N, empty
2. `write`    each file flushed to the disk, and read back
3. `publish`  manifest, flush of the folder, one rename to step-N, flush of the parent
"""

import contextlib
import hashlib
import os
import stat
from collections.abc import Iterable
from pathlib import Path

from data_prep.errors import CorruptionError, SpanwrightError
from data_prep.shards.files import named_errors, open_regular
from pipeline.checkpoint.disk import Disk
from pipeline.checkpoint.format import MANIFEST, FileEntry
from pipeline.checkpoint.store import DAMAGED, Folder, Part

_SAVING, _LEAVING = ".saving-", ".removing-"


class LocalStore:
    """A folder of checkpoints."""

    def __init__(self, root: Path, disk: Disk | None = None) -> None:
        self.root = root
        self._disk = disk or Disk()

    @property
    def place(self) -> str:
        """The path."""
        return str(self.root)

    def folders(self) -> list[str]:
        """The names of the folders here (links are none)."""
        if not self.root.is_dir():
            return []
        with named_errors(self.root, "read"):
            return sorted(p.name for p in self.root.iterdir() if p.is_dir() and not p.is_symlink() and p.name[0] != ".")

    def names(self, folder: str) -> list[str]:
        """All that lies in a folder."""
        with named_errors(self.root / folder, "read"):
            return sorted(os.listdir(self.root / folder))

    def read(self, folder: str, name: str, limit: int) -> bytes:
        """A regular file of at most `limit` bytes."""
        path = self.root / folder / name
        with open_regular(path, advice="") as descriptor, named_errors(path, "read"):
            if os.fstat(descriptor).st_size > limit:
                raise CorruptionError(f"{path}: longer than it can be")
            with open(descriptor, "rb", closefd=False) as file:
                return file.read(limit + 1)

    def measure(self, folder: str, name: str) -> FileEntry:
        """Size and digest, in bounded memory."""
        path = self.root / folder / name
        with open_regular(path, advice="") as descriptor, named_errors(path, "read"):
            with open(descriptor, "rb", closefd=False) as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            return FileEntry(size=os.fstat(descriptor).st_size, sha256=digest)

    def begin(self, folder: str) -> None:
        """An empty temporary folder."""
        self._make_root()
        with named_errors(self.root, "write"):
            found = sorted(self.root.iterdir())
        for path in found:
            if path.name.startswith((_SAVING, _LEAVING)):
                self._remove_all(path)
        self._disk.make_folder(self._temporary(folder))

    def write(self, folder: str, name: str, parts: Iterable[Part]) -> FileEntry:
        """Write, flush, and read back."""
        path = self._temporary(folder) / name
        digest, size = hashlib.sha256(), 0
        with self._disk.create(path) as file:
            for part in parts:
                self._disk.append(file, part)
                digest.update(part)
                size += len(part)
            self._disk.sync(file)
        written = FileEntry(size=size, sha256=digest.hexdigest())
        if self.measure(path.parent.name, name) != written:
            raise SpanwrightError(f"{path}: what was written is not what is read back; check the disk")
        return written

    def publish(self, folder: str, manifest: bytes) -> None:
        """Manifest, flush, rename, flush."""
        temporary, final = self._temporary(folder), self.root / folder
        self.write(folder, MANIFEST, [manifest])
        self._disk.sync_folder(temporary)
        if final.exists():  # left by a run that went on from an older checkpoint
            self.set_aside(folder)
        self._disk.rename(temporary, final)
        self._disk.sync_folder(self.root)

    def abandon(self, folder: str) -> None:
        """Remove the temporary folder, as far as that is possible."""
        with contextlib.suppress(SpanwrightError, OSError):
            self._remove_all(self._temporary(folder))

    def remove(self, folder: str) -> None:
        """Rename first, so that a kill in between leaves no half of a checkpoint."""
        leaving = self.root / f"{_LEAVING}{folder}"
        if leaving.exists():
            self._remove_all(leaving)
        self._disk.rename(self.root / folder, leaving)
        self._disk.sync_folder(self.root)
        self._remove_all(leaving)

    def set_aside(self, folder: str, prefix: str = DAMAGED) -> str:
        """Rename to a name that is free."""
        aside, number = f"{prefix}{folder}", 1
        while (self.root / aside).exists():
            number += 1
            aside = f"{prefix}{folder}-{number}"
        self._disk.rename(self.root / folder, self.root / aside)
        self._disk.sync_folder(self.root)
        return aside

    def copy_file(self, source: Folder, folder: str, name: str) -> None:
        """A hard link where one can be made: nothing ever writes into a file that is there."""
        target = self._temporary(folder) / name
        if isinstance(source.store, LocalStore):
            with contextlib.suppress(OSError):
                os.link(source.store.root / source.name / name, target, follow_symlinks=False)
                return
        self.write(folder, name, [source.read(name, source.measure(name).size)])

    def _temporary(self, folder: str) -> Path:
        return self.root / f"{_SAVING}{folder}"

    def _make_root(self) -> None:
        missing = [path for path in (self.root, *self.root.parents) if not path.exists()]
        for path in reversed(missing):
            self._disk.make_folder(path)
            self._disk.sync_folder(path.parent)
        if not self.root.is_dir():
            raise SpanwrightError(f"{self.root}: a file is in the way of this folder; choose another place")

    def _remove_all(self, path: Path) -> None:
        """A folder with all that is in it; links are removed, never followed."""
        with named_errors(path, "remove"):
            is_folder = stat.S_ISDIR(path.lstat().st_mode)
            below = sorted(path.iterdir()) if is_folder else []
        for entry in below:
            self._remove_all(entry)
        (self._disk.remove_folder if is_folder else self._disk.remove_file)(path)
