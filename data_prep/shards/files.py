"""Files: opened only when regular and not a link; under their final names only when whole.

Invariant: a file under its final name was written completely and then renamed: no process ever sees a part of it, and
a killed one leaves none. What was published is on the disk as well.

1. `StagedFile` writes under a temporary name in the final folder.
2. `publish` flushes every staged file, renames them in the order given, and flushes the folder. Whatever fails on the
   way, nothing of it stays under a final name.
3. `place` does the same without waiting for the disk, for files whose digest is kept elsewhere: what a power failure
   took is noticed. `flush_files` brings many such files to the disk at once; one that the disk does not take is lost.
"""

import contextlib
import errno
import os
import secrets
import stat
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from data_prep.errors import CorruptionError, InputError, SpanwrightError

_NO_HARD_LINKS = (errno.EPERM, errno.EXDEV, errno.EMLINK, errno.ENOTSUP)
_FLUSHES_AT_ONCE = 16
_READ_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK


@contextlib.contextmanager
def named_errors(path: Path, action: str) -> Iterator[None]:
    """Turn an OSError into one message that names `path`, what was tried, and what to do."""
    try:
        yield
    except PermissionError as error:
        raise InputError(f"{path}: no permission to {action} it; change its owner or mode") from error
    except (FileExistsError, NotADirectoryError) as error:
        raise InputError(f"{path}: a file is in the way of this folder; choose another place") from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise SpanwrightError(f"{path}: the disk is full; free some space and run the command again") from error
        if error.errno == errno.EROFS:
            raise InputError(f"{path}: the file system is read-only; choose another place") from error
        raise SpanwrightError(f"{path}: cannot {action} it: {error.strerror}") from error


@contextlib.contextmanager
def open_regular(path: Path, advice: str = "; prepare its dataset again") -> Iterator[int]:
    """A read-only descriptor of `path`; a missing file, a link or anything but a regular file is a CorruptionError.

    `advice` is what the message for a missing file goes on to say.
    """
    with named_errors(path, "read"):
        try:
            descriptor = os.open(path, _READ_FLAGS)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise CorruptionError(f"{path}: missing{advice}") from error
        except OSError as error:
            if error.errno == errno.ELOOP:
                raise CorruptionError(f"{path}: not a regular file but a link") from error
            raise
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise CorruptionError(f"{path}: not a regular file")
        yield descriptor
    finally:
        os.close(descriptor)


def read_file(path: Path) -> bytes:
    """The whole of a regular file."""
    with open_regular(path) as descriptor, named_errors(path, "read"), open(descriptor, "rb", closefd=False) as file:
        return file.read()


def _temporary_path(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")


class StagedFile:
    """A file being written under a temporary name beside its final one. Not visible until `publish`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._temporary = _temporary_path(path)
        with named_errors(path, "write"):
            self._file = open(self._temporary, "xb")  # noqa: SIM115 - closed by publish or discard

    def write(self, data: bytes | memoryview) -> None:
        """Append `data`."""
        with named_errors(self.path, "write"):
            self._file.write(data)

    def close(self, *, flush: bool) -> None:
        """Close the temporary file; with `flush`, everything written is on the disk then."""
        with named_errors(self.path, "write"):
            self._file.flush()
            if flush:
                os.fsync(self._file.fileno())
            self._file.close()

    def rename(self) -> None:
        """Give the file its final name, replacing what was there."""
        with named_errors(self.path, "write"):
            os.replace(self._temporary, self.path)

    def discard(self) -> None:
        """Remove the temporary file, if it is still there."""
        with contextlib.suppress(OSError):  # a full disk may refuse even the buffered rest
            self._file.close()
        self._temporary.unlink(missing_ok=True)


def staged_bytes(path: Path, data: bytes) -> StagedFile:
    """A staged file that already holds `data`."""
    file = StagedFile(path)
    try:
        file.write(data)
    except BaseException:
        file.discard()
        raise
    return file


def publish(files: Sequence[StagedFile]) -> None:
    """Flush all of `files`, rename them in order, flush their folders. After an error none has its final name."""
    _rename_all(files, flush=True)


def place(files: Sequence[StagedFile]) -> None:
    """Rename all of `files` in order, without waiting for the disk. After an error none has its final name."""
    _rename_all(files, flush=False)


def flush_files(paths: Sequence[Path]) -> None:
    """Bring files and the folders that they lie in to the disk."""
    with ThreadPoolExecutor(_FLUSHES_AT_ONCE) as pool:  # the disk takes waiting writes together
        list(pool.map(flush_file, paths))
    for folder in dict.fromkeys(path.parent for path in paths):
        sync_folder(folder)


def _rename_all(files: Sequence[StagedFile], *, flush: bool) -> None:
    renamed: list[StagedFile] = []
    try:
        for file in files:
            file.close(flush=flush)
        for file in files:
            file.rename()
            renamed.append(file)
        for folder in dict.fromkeys(file.path.parent for file in files) if flush else ():
            sync_folder(folder)
    except BaseException:
        for file in renamed:
            file.path.unlink(missing_ok=True)
        for file in files:
            file.discard()
        raise


def link_file(source: Path, target: Path) -> None:
    """Give `source` the further name `target`, replacing what is there; copies where no hard link can be made.

    The content and the new name are on the disk after `flush_files`.
    """
    temporary = _temporary_path(target)
    with named_errors(target, "write"):
        try:
            os.link(source, temporary, follow_symlinks=False)
            os.replace(temporary, target)
            temporary.unlink(missing_ok=True)  # renaming onto another link of the same file leaves both
        except OSError as error:
            if error.errno not in _NO_HARD_LINKS:
                raise
            place([staged_bytes(target, read_file(source))])


def flush_file(path: Path) -> None:
    """Bring what is in a file to the disk. Where that fails it is emptied, under all its names.

    The system tells of a failed write once, and shows from memory afterwards what never reached the disk: nobody who
    looks for the file's digest later may find it there.
    """
    with open_regular(path) as descriptor, named_errors(path, "write"):
        try:
            os.fsync(descriptor)
        except OSError:
            with contextlib.suppress(OSError):
                os.truncate(path, 0)
            raise


def sync_folder(folder: Path) -> None:
    """Bring the folder's own entries (names) to the disk."""
    with named_errors(folder, "write"):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
