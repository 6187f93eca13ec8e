"""The file of chunks that tokenizing leaves for the finishes: blocks (see `blocks`), one for each chunk.

Invariant: what comes out is what went in, in order, or an error that names the file; memory holds one chunk.

A block is its documents' ids with name, type and shape of each array (JSON), and then the arrays' bytes as they are.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from data_prep.blocks import Block, BlockWriter, damage_named, read_blocks
from data_prep.shards import Chunk, canonical

_TOKENS, _DOCS = ".tokens", ".docs"  # no column is called so


@dataclass(frozen=True)
class StoredChunks:
    """What a file of chunks holds. `bytes` and `file_digest` are those of the file."""

    documents: int
    tokens: int
    bytes: int
    file_digest: str


class ChunkWriter:
    """Writes a file of chunks under a temporary name; `close` gives it its own."""

    def __init__(self, path: Path) -> None:
        self._file = BlockWriter(path)
        self._documents = self._tokens = 0

    def add(self, chunk: Chunk) -> None:
        """Append a chunk."""
        arrays = {_TOKENS: chunk.tokens, _DOCS: chunk.docs, **chunk.columns}
        described = [(name, array.dtype.str, array.shape) for name, array in arrays.items()]
        data = (np.ascontiguousarray(array).reshape(-1).view(np.uint8).data for array in arrays.values())
        self._file.add([canonical.encode([chunk.ids, described]), *data])
        self._documents += len(chunk.ids)
        self._tokens += len(chunk.tokens)

    def close(self) -> StoredChunks:
        """Give the file its name."""
        digest = self._file.close()
        return StoredChunks(self._documents, self._tokens, self._file.num_bytes, digest)

    def abort(self) -> None:
        """Leave nothing behind, unless it was published."""
        self._file.abort()


def read_chunks(path: Path) -> Iterator[Chunk]:
    """The chunks of a file, in order, their arrays read-only; CorruptionError when it is damaged."""
    with damage_named(path), open(path, "rb") as file:
        for block in read_blocks(file):
            if block.parts:
                yield _chunk(block, file)


def _chunk(block: Block, file: BinaryIO) -> Chunk:
    ids, described = canonical.decode(block.read(file, 0))
    arrays = {
        name: np.frombuffer(block.read(file, part), dtype).reshape(shape)
        for part, (name, dtype, shape) in enumerate(described, 1)
    }
    return Chunk(arrays.pop(_TOKENS), arrays.pop(_DOCS), ids, arrays)
