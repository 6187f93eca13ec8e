"""Files of blocks, in the work folder: what one task leaves for a later one.

Invariant: what comes out is what went in, in order, or a CorruptionError that names the file.

1. A block is one or more parts, each bytes. Before it stand its number, sizes and CRC-32 of its parts, and CRC-32 of
   that. The last block has no parts: a file that was cut short is noticed.
2. The digest of a file is that of all that stands before blocks, and by those checksums of every byte. Changed bits are
   noticed always, other damage but for one in 2**32. SHA-256 of everything takes two to eight times as long, and would
   be taken a second time while reading.
"""

import contextlib
import hashlib
import itertools
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from data_prep.errors import CorruptionError
from data_prep.shards.files import StagedFile, named_errors, place

SUFFIX = ".blocks"
_NUMBERS = struct.Struct("<IB")  # of the block, of its parts
_PART, _CRC = struct.Struct("<QI"), struct.Struct("<I")  # its size and CRC-32


class BlockWriter:
    """Writes a file under a temporary name; `close` gives it its own, `abort` leaves nothing."""

    def __init__(self, path: Path) -> None:
        self.num_bytes = 0
        self._file, self._digest, self._num_blocks = StagedFile(path), hashlib.sha256(), 0

    def add(self, parts: Sequence[bytes | memoryview]) -> None:
        """Append a block."""
        assert parts, "a block without parts is the last"
        self._write(parts)

    def close(self) -> str:
        """Give the file its name; its digest."""
        self._write(())
        place([self._file])
        return self._digest.hexdigest()

    def abort(self) -> None:
        """Leave nothing behind, unless it was published."""
        self._file.discard()

    def _write(self, parts: Sequence[bytes | memoryview]) -> None:
        head = _NUMBERS.pack(self._num_blocks, len(parts))
        head += b"".join(_PART.pack(len(part), zlib.crc32(part)) for part in parts)
        head += _CRC.pack(zlib.crc32(head))
        for data in (head, *parts):
            self._file.write(data)
            self.num_bytes += len(data)
        self._digest.update(head)
        self._num_blocks += 1


@dataclass(frozen=True)
class Block:
    """A block of a file: what stands before it, and of each part where it lies, its size and CRC-32."""

    head: bytes
    parts: tuple[tuple[int, int, int], ...]

    def read(self, file: BinaryIO, part: int) -> bytes:
        """A part; ValueError when it is damaged."""
        begin, size, crc = self.parts[part]
        file.seek(begin)
        data = file.read(size)
        if len(data) < size or zlib.crc32(data) != crc:
            raise ValueError("a block is cut short or changed")
        return data


def read_blocks(file: BinaryIO) -> Iterator[Block]:
    """The blocks of an open file in order, the last one too; ValueError where it is damaged.

    What was read of the file meanwhile does not matter.
    """
    end = 0
    for number in itertools.count():
        file.seek(end)
        block = _read_head(file, number, end)
        yield block
        if not block.parts:
            break
        begin, size, _ = block.parts[-1]
        end = begin + size
    if file.read(1):
        raise ValueError("something follows its end")


def blocks_digest(path: Path) -> str:
    """The digest of a file; CorruptionError when any of its bytes is damaged."""
    digest = hashlib.sha256()
    with damage_named(path), open(path, "rb") as file:
        for block in read_blocks(file):
            digest.update(block.head)
            for part in range(len(block.parts)):
                block.read(file, part)
    return digest.hexdigest()


@contextlib.contextmanager
def damage_named(path: Path) -> Iterator[None]:
    """Turn what reading a damaged file raises into a CorruptionError that names it."""
    try:
        with named_errors(path, "read"):
            yield
    except ValueError as error:
        raise CorruptionError(f"{path}: damaged ({error}); run the same command again") from error


def _read_head(file: BinaryIO, number: int, begin: int) -> Block:
    """Block `number`, whose head is at byte `begin`, where the file stands."""
    numbers = file.read(_NUMBERS.size)
    count = numbers[-1] if len(numbers) == _NUMBERS.size else 0
    sizes, crc = file.read(count * _PART.size), file.read(_CRC.size)
    if len(crc) < _CRC.size:
        raise ValueError("cut short")
    if crc != _CRC.pack(zlib.crc32(numbers + sizes)) or _NUMBERS.unpack(numbers)[0] != number:
        raise ValueError("a block's beginning changed")
    head, parts = numbers + sizes + crc, []
    begin += len(head)
    for size, part_crc in _PART.iter_unpack(sizes):
        parts.append((begin, size, part_crc))
        begin += size
    return Block(head, tuple(parts))
