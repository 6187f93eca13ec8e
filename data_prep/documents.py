"""The file of documents that one pass leaves for the next, in blocks (see `blocks`).

Invariant: what comes out is what went in, in order, or an error that names the file; memory holds one block, which is
one document or about 256 KiB, however many there are.

1. A block is its rows (JSON: id, source, lang, pair, meta, bytes, characters and SHA-256 of each text) and its texts in
   UTF-8: who needs no texts does not read them. Nothing is compressed: LZ4 would take an eighth off the work folder.
2. `StoredDocuments.digest` is that of the rows, and so of the texts.
"""

import functools
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np
import orjson

from data_prep.blocks import SUFFIX, Block, BlockWriter, damage_named, read_blocks
from data_prep.sources.document import Document

DOCUMENTS_NAME = f"documents{SUFFIX}"
_BLOCK_BYTES = 2**18
_ROWS, _TEXTS = 0, 1  # parts of a block

_encode_meta = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), sort_keys=True).encode


@dataclass(frozen=True)
class StoredDocuments:
    """What a file of documents holds. `digest` is that of the content, `file_digest` that of the file."""

    documents: int
    text_bytes: int
    digest: str
    file_digest: str


class DocumentWriter:
    """Writes a file of documents under a temporary name; `close` gives it its own. Leaves nothing after an error."""

    def __init__(self, path: Path) -> None:
        self._file, self._digest = BlockWriter(path), hashlib.sha256()
        self._rows: list[list[Any]] = []
        self._texts: list[bytes] = []
        self._block_bytes = self._documents = self._text_bytes = 0

    def __enter__(self) -> "DocumentWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._file.abort()

    def add(self, document: Document) -> None:
        """Append a document."""
        utf8 = document.utf8
        names = document.id, document.source, document.lang, document.pair
        meta = _encode_meta(document.meta) if document.meta else None
        self._rows.append([*names, meta, len(utf8), document.num_chars, document.sha256.hex()])
        self._texts.append(utf8)
        self._block_bytes += len(utf8)
        if self._block_bytes >= _BLOCK_BYTES:
            self._write_block()

    def close(self) -> StoredDocuments:
        """Give the file its name."""
        if self._rows:
            self._write_block()
        digest = hashlib.sha256(self._digest.digest() + self._documents.to_bytes(8, "big"))
        return StoredDocuments(self._documents, self._text_bytes, digest.hexdigest(), self._file.close())

    def _write_block(self) -> None:
        rows, texts = orjson.dumps(self._rows), b"".join(self._texts)
        self._file.add([rows, texts])
        self._digest.update(rows)
        self._documents += len(self._rows)
        self._text_bytes += len(texts)
        self._rows, self._texts, self._block_bytes = [], [], 0


@dataclass(frozen=True)
class Documents:
    """The documents of a file, in order, or of them those whose numbers are in the file `kept`.

    With `lazy`, a text is read when it is asked for. CorruptionError while reading when a file is damaged.
    """

    path: Path
    kept: Path | None = None
    lazy: bool = False

    def __iter__(self) -> Iterator[Document]:
        return read_documents(self.path, None if self.kept is None else read_kept(self.kept), lazy=self.lazy)


def read_kept(path: Path) -> np.ndarray:
    """Numbers of documents: [documents] int64, ascending."""
    with damage_named(path):
        return np.load(path, allow_pickle=False)


def read_documents(path: Path, kept: np.ndarray | None = None, *, lazy: bool = False) -> Iterator[Document]:
    """The documents of a file, in order (of them only those numbered `kept`); CorruptionError when it is damaged."""
    with damage_named(path), open(path, "rb") as file:
        yield from _documents(path, file, kept, lazy)


def _documents(path: Path, file: BinaryIO, kept: np.ndarray | None, lazy: bool) -> Iterator[Document]:
    count, wanted = 0, None if kept is None else set(kept.tolist())
    for block in read_blocks(file):
        if not block.parts:
            continue
        rows, texts = orjson.loads(block.read(file, _ROWS)), _Texts(path, block)
        if not lazy:
            texts.load(file)
        begin = 0
        for row in rows:
            if wanted is None or count in wanted:
                yield _document(row, texts, begin, lazy)
            begin += row[5]
            count += 1


def _document(row: list[Any], texts: "_Texts", begin: int, lazy: bool) -> Document:
    id, source, lang, pair, meta, num_bytes, num_chars, sha256 = row
    return Document.stored(
        id=id,
        source=source,
        lang=lang,
        pair=pair,
        meta=json.loads(meta) if meta else {},
        utf8=functools.partial(texts.part, begin, num_bytes) if lazy else texts.part(begin, num_bytes),
        num_bytes=num_bytes,
        num_chars=num_chars,
        sha256=bytes.fromhex(sha256),
    )


class _Texts:
    """The texts of one block, read at once or when they are first asked for."""

    def __init__(self, path: Path, block: Block) -> None:
        self._path, self._block = path, block
        self._data: bytes | None = None

    def load(self, file: BinaryIO) -> None:
        """Read them."""
        self._data = self._block.read(file, _TEXTS)

    def part(self, begin: int, num_bytes: int) -> bytes:
        """One of them."""
        if self._data is None:
            with damage_named(self._path), open(self._path, "rb") as file:
                self.load(file)
        assert self._data is not None
        return self._data[begin : begin + num_bytes]
