"""The file of documents that one pass leaves for the next, in the work folder: a zstd stream.

Invariant: what comes out is what went in, in order, or an error that names the file; memory holds one document and a
few hundred KiB, however many there are.

1. A document is a line of JSON (id, source, lang, pair, meta, number of bytes) and then its text in UTF-8.
2. The last line is the number of documents: a file that was cut short is noticed. zstd's checksum covers every byte.
3. `StoredDocuments.digest` is that of the content, before compression: it does not depend on the version of zstd.
"""

import hashlib
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from json.encoder import encode_basestring
from pathlib import Path
from types import TracebackType

import numpy as np
import zstandard

from data_prep.errors import CorruptionError
from data_prep.shards.files import StagedFile, named_errors, place
from data_prep.sources.document import Document

DOCUMENTS_NAME = "documents.zst"
LEVEL = 1  # three to five times smaller, and far faster than anything else a pass does
_BUFFER_BYTES = 2**18

_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), sort_keys=True).encode


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
        self._zstd = zstandard.ZstdCompressor(level=LEVEL, write_checksum=True).compressobj()
        self._digest, self._file_digest = hashlib.sha256(), hashlib.sha256()
        self._waiting: list[bytes] = []
        self._waiting_bytes = self._documents = self._text_bytes = 0

    def __enter__(self) -> "DocumentWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._file.discard()  # does nothing to a file that was published

    def add(self, document: Document) -> None:
        """Append a document."""
        names = [_string(name) for name in (document.id, document.source, document.lang, document.pair)]
        fields = [*names, _encode(document.meta) if document.meta else "{}", str(len(document.utf8))]
        self._append(f"[{','.join(fields)}]\n".encode())
        self._append(document.utf8)
        self._documents += 1
        self._text_bytes += len(document.utf8)

    def close(self) -> StoredDocuments:
        """Give the file its name."""
        self._append(b"%d\n" % self._documents)
        self._flush()
        self._write(self._zstd.flush())
        place([self._file])
        return StoredDocuments(
            self._documents, self._text_bytes, self._digest.hexdigest(), self._file_digest.hexdigest()
        )

    def _append(self, data: bytes) -> None:
        self._waiting.append(data)
        self._waiting_bytes += len(data)
        if self._waiting_bytes >= _BUFFER_BYTES:
            self._flush()

    def _flush(self) -> None:
        data = b"".join(self._waiting)
        self._waiting, self._waiting_bytes = [], 0
        self._digest.update(data)
        self._write(self._zstd.compress(data))

    def _write(self, compressed: bytes) -> None:
        self._file.write(compressed)
        self._file_digest.update(compressed)


@dataclass(frozen=True)
class Documents:
    """The documents of a file, in order, or of them those whose numbers are in the file `kept`.

    CorruptionError while reading when a file is damaged.
    """

    path: Path
    kept: Path | None = None

    def __iter__(self) -> Iterator[Document]:
        return read_documents(self.path, None if self.kept is None else read_kept(self.kept))


def read_kept(path: Path) -> np.ndarray:
    """Numbers of documents: [documents] int64, ascending."""
    try:
        with named_errors(path, "read"):
            return np.load(path, allow_pickle=False)
    except ValueError as error:
        raise CorruptionError(f"{path}: damaged ({error}); run the same command again") from error


def read_documents(path: Path, kept: np.ndarray | None = None) -> Iterator[Document]:
    """The documents of a file, in order (of them only those numbered `kept`); CorruptionError when it is damaged."""
    try:
        with named_errors(path, "read"), open(path, "rb") as file:
            stream = zstandard.ZstdDecompressor().stream_reader(file)
            yield from _documents(io.BufferedReader(stream, _BUFFER_BYTES), kept)
    except (zstandard.ZstdError, ValueError) as error:
        raise CorruptionError(f"{path}: damaged ({error}); run the same command again") from error


def _documents(stream: io.BufferedReader, kept: np.ndarray | None) -> Iterator[Document]:
    count, wanted = 0, None if kept is None else set(kept.tolist())
    while isinstance(fields := json.loads(stream.readline().decode()), list):
        id, source, lang, pair, meta, num_bytes = fields
        text = stream.read(num_bytes)
        if len(text) != num_bytes:
            raise ValueError("cut short")
        if wanted is None or count in wanted:
            yield Document(id, text.decode(), source, lang, pair, meta)
        count += 1
    if fields != count or stream.read(1):
        raise ValueError("not as many documents as its end says")


def _string(text: str | None) -> str:
    """As `_encode`, which takes several times as long."""
    return "null" if text is None else encode_basestring(text)
