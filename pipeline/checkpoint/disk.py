"""Every operation by which a checkpoint changes a disk, one method each.

The tests record them, and replay every prefix of a save as a crash would leave it.
"""

import os
from pathlib import Path
from typing import BinaryIO

from data_prep.shards.files import named_errors, sync_folder


class Disk:
    """A file system as checkpoints use it. Errors are one message that names the path."""

    def make_folder(self, path: Path) -> None:
        """A new folder; its name is on the disk once its parent is synced."""
        with named_errors(path, "write"):
            os.mkdir(path)

    def create(self, path: Path) -> BinaryIO:
        """A new file, open for writing and unbuffered."""
        with named_errors(path, "write"):
            return open(path, "xb", buffering=0)

    def append(self, file: BinaryIO, data: bytes | memoryview) -> None:
        """Write all of `data` (the system may take a large piece in several)."""
        rest = memoryview(data)
        with named_errors(Path(file.name), "write"):
            while rest:
                rest = rest[file.write(rest) :]

    def sync(self, file: BinaryIO) -> None:
        """Bring the file's content to the disk."""
        with named_errors(Path(file.name), "write"):
            os.fsync(file.fileno())

    def sync_folder(self, path: Path) -> None:
        """Bring the folder's entries (names) to the disk."""
        sync_folder(path)

    def rename(self, old: Path, new: Path) -> None:
        """Give a file or folder another name in the same folder."""
        with named_errors(old, "rename"):
            os.rename(old, new)

    def remove_file(self, path: Path) -> None:
        """Remove a file or a link."""
        with named_errors(path, "remove"):
            os.unlink(path)

    def remove_folder(self, path: Path) -> None:
        """Remove an empty folder."""
        with named_errors(path, "remove"):
            os.rmdir(path)
