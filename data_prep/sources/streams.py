"""A file's bytes: as they are (seekable), or decompressed piece by piece. `.gz` and `.zst` are told by the name.

Invariant: memory is bounded, whatever a file expands to; a compressed file that is damaged or cut short raises
`BrokenFileError` after the bytes before, and never ends as if it were whole.
"""

import contextlib
import io
from collections.abc import Iterator
from typing import BinaryIO

from data_prep.sources.document import InputFile
from data_prep.sources.storage import opened

COMPRESSION = {".gz": "gzip", ".zst": "zstd"}
_BUFFER_BYTES = 1 << 18


class BrokenFileError(Exception):
    """A file's bytes are not what its format asks for."""


def compression(path: str) -> str | None:
    """How a file of this name is compressed."""
    endings = {**COMPRESSION, ".tgz": "gzip"}
    return next((kind for ending, kind in endings.items() if path.lower().endswith(ending)), None)


@contextlib.contextmanager
def seekable(file: InputFile) -> Iterator[BinaryIO]:
    """The bytes of a file as they are; InputError if it is gone, unreadable, or changed since the plan was made."""
    with opened(file.path, file.size, file.version) as stream:
        yield stream


@contextlib.contextmanager
def decompressed(file: InputFile) -> Iterator[BinaryIO]:
    """The content of a file, from its beginning; seekable when it is not compressed."""
    with seekable(file) as stream:
        kind = compression(file.path)
        yield stream if kind is None else io.BufferedReader(_Decompressed(stream, kind), _BUFFER_BYTES)


class CountedStream:
    """A stream for libraries that read on their own: it counts, and keeps back an error until they are done.

    Some end the process when reading raises: they see the end of the file, and `check` raises the error.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._stream, self._bytes = stream, 0
        self._error: Exception | None = None

    def read(self, size: int = -1) -> bytes:
        """The next bytes; none after an error."""
        try:
            data = b"" if self._error else self._stream.read(size)
        except Exception as error:
            self._error, data = error, b""
        self._bytes += len(data)
        return data

    def tell(self) -> int:
        """How many bytes were read."""
        return self._bytes

    def check(self, end: int, what: str) -> None:
        """Read on to the end; BrokenFileError unless there are `end` bytes or more, or the error there was."""
        while self.read(_BUFFER_BYTES):
            pass
        if self._error is not None:
            raise self._error
        if self._bytes < end:
            raise BrokenFileError(f"{what} is cut short: byte {end:,} expected, {self._bytes:,} there")


class _Decompressed(io.RawIOBase):
    """Arrow's decompressor as a Python file: it reads several members or frames, and notices an early end."""

    def __init__(self, stream: BinaryIO, kind: str) -> None:
        import pyarrow

        self._stream = pyarrow.CompressedInputStream(pyarrow.PythonFile(stream, mode="r"), kind)
        self._kind = kind

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        try:
            data = self._stream.read(len(buffer))
        except OSError as error:
            raise BrokenFileError(f"damaged or cut short ({self._kind}: {error})") from error
        buffer[: len(data)] = data
        return len(data)
