"""The file of documents that one pass leaves for the next, in the work folder: blocks, compressed by LZ4.

Invariant: what comes out is what went in, in order, or an error that names the file; memory holds one block, which is
one document or about 256 KiB, however many there are.

1. A block is its rows (JSON: id, source, lang, pair, meta, bytes, characters and SHA-256 of each text) and its texts in
   UTF-8, compressed apart: who needs no texts does not read them.
2. Before a block stand the sizes of its parts and CRC-32 of everything. The last one has no parts, only the number of
   documents: a file that was cut short is noticed.
3. `StoredDocuments.digest` is that of the rows, and so of the texts; it does not depend on the version of LZ4.
"""

import contextlib
import functools
import hashlib
import io
import json
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import orjson

from data_prep.errors import CorruptionError
from data_prep.shards.files import StagedFile, named_errors, place
from data_prep.sources.document import Document

DOCUMENTS_NAME = "documents.lz4"
_BLOCK_BYTES = 2**18
_HEAD = struct.Struct("<4Q2I")  # see _Head
_CRC = struct.Struct("<I")

_encode_meta = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), sort_keys=True).encode


@dataclass(frozen=True)
class StoredDocuments:
    """What a file of documents holds. `digest` is that of the content, `file_digest` that of the file's bytes."""

    documents: int
    text_bytes: int
    digest: str
    file_digest: str


class DocumentWriter:
    """Writes a file of documents under a temporary name; `close` gives it its own. Leaves nothing after an error."""

    def __init__(self, path: Path) -> None:
        self._file = StagedFile(path)
        self._digest, self._file_digest = hashlib.sha256(), hashlib.sha256()
        self._rows: list[list[Any]] = []
        self._texts: list[bytes] = []
        self._block_bytes = self._documents = self._text_bytes = 0

    def __enter__(self) -> "DocumentWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._file.discard()  # does nothing to a file that was published

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
        self._write(_Head(self._documents, 0, 0, 0, 0, 0).packed())
        place([self._file])
        digest = hashlib.sha256(self._digest.digest() + self._documents.to_bytes(8, "big"))
        return StoredDocuments(self._documents, self._text_bytes, digest.hexdigest(), self._file_digest.hexdigest())

    def _write_block(self) -> None:
        rows, texts = orjson.dumps(self._rows), b"".join(self._texts)
        packed_rows, packed_texts = _lz4().compress(rows, asbytes=True), _lz4().compress(texts, asbytes=True)
        sizes = len(rows), len(packed_rows), len(texts), len(packed_texts)
        self._write(_Head(*sizes, zlib.crc32(packed_rows), zlib.crc32(packed_texts)).packed())
        self._write(packed_rows)
        self._write(packed_texts)
        self._digest.update(rows)
        self._documents += len(self._rows)
        self._text_bytes += len(texts)
        self._rows, self._texts, self._block_bytes = [], [], 0

    def _write(self, data: bytes) -> None:
        self._file.write(data)
        self._file_digest.update(data)


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
    with _damage_named(path):
        return np.load(path, allow_pickle=False)


def read_documents(path: Path, kept: np.ndarray | None = None, *, lazy: bool = False) -> Iterator[Document]:
    """The documents of a file, in order (of them only those numbered `kept`); CorruptionError when it is damaged."""
    with _damage_named(path), open(path, "rb") as file:
        yield from _documents(path, file, kept, lazy)


@contextlib.contextmanager
def _damage_named(path: Path) -> Iterator[None]:
    """Turn what reading a damaged file raises into a CorruptionError that names it."""
    try:
        with named_errors(path, "read"):
            yield
    except ValueError as error:
        raise CorruptionError(f"{path}: damaged ({error}); run the same command again") from error


class _Head(NamedTuple):
    """What stands before a block: sizes in bytes and CRC-32 of its parts, then CRC-32 of this. At the end of the file:
    the number of documents, and zeros.
    """

    rows: int
    packed_rows: int
    texts: int
    packed_texts: int
    rows_crc: int
    texts_crc: int

    def packed(self) -> bytes:
        """As the file has it."""
        data = _HEAD.pack(*self)
        return data + _CRC.pack(zlib.crc32(data))

    @classmethod
    def read(cls, file: BinaryIO) -> "_Head":
        """The next one; ValueError where there is none."""
        data, crc = file.read(_HEAD.size), file.read(_CRC.size)
        if len(crc) < _CRC.size:
            raise ValueError("cut short")
        if crc != _CRC.pack(zlib.crc32(data)):
            raise ValueError("a block's beginning changed")
        return cls(*_HEAD.unpack(data))


def _documents(path: Path, file: BinaryIO, kept: np.ndarray | None, lazy: bool) -> Iterator[Document]:
    count, wanted = 0, None if kept is None else set(kept.tolist())
    while (head := _Head.read(file)).packed_rows:
        rows = orjson.loads(_unpacked(file.read(head.packed_rows), head.rows, head.rows_crc))
        texts = _Texts(path, file.tell(), head)
        file.seek(head.packed_texts, io.SEEK_CUR) if lazy else texts.load(file)
        begin = 0
        for row in rows:
            if wanted is None or count in wanted:
                yield _document(row, texts, begin, lazy)
            begin += row[5]
            count += 1
    if head.rows != count or file.read(1):
        raise ValueError("not as many documents as its end says")


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

    def __init__(self, path: Path, start: int, head: _Head) -> None:
        self._path, self._start, self._head = path, start, head
        self._data: bytes | None = None

    def load(self, file: BinaryIO) -> None:
        """Read them from `file`, which stands where they begin."""
        head = self._head
        self._data = _unpacked(file.read(head.packed_texts), head.texts, head.texts_crc)

    def part(self, begin: int, num_bytes: int) -> bytes:
        """One of them."""
        if self._data is None:
            with _damage_named(self._path), open(self._path, "rb") as file:
                file.seek(self._start)
                self.load(file)
        assert self._data is not None
        return self._data[begin : begin + num_bytes]


def _unpacked(packed: bytes, size: int, crc: int) -> bytes:
    if zlib.crc32(packed) != crc:
        raise ValueError("a block is cut short or changed")
    return _lz4().decompress(packed, size, asbytes=True)


@functools.cache
def _lz4() -> Any:
    import pyarrow

    return pyarrow.Codec("lz4_raw")
