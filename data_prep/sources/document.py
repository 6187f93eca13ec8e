"""What a source reads (InputSplit) and what it yields: a Document, or a BadDocument that says what is wrong with it."""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from data_prep.config import SourceKind
from data_prep.errors import InputError

BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class InputSplit:
    """Bytes start .. stop of a file: the documents that begin there. `name` is the file's name within the corpus."""

    path: str
    name: str
    source: SourceKind
    start: int
    stop: int
    file_size: int
    modified_ns: int


@dataclass(frozen=True)
class Document:
    """One text. `id` is unique within the corpus; `source` is the name of the file it came from.

    `lang` is an ISO 639 code where it is known; documents that are aligned (translations) share their `pair`.
    """

    id: str
    text: str
    source: str
    lang: str | None = None
    pair: str | None = None
    meta: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class BadDocument:
    """A place where a document should be. `reason` is one word to count by, `detail` is what to show."""

    path: str
    offset: int
    reason: str
    detail: str

    def describe(self) -> str:
        """`file:line: what is wrong`. Reads the file up to the place to count its lines."""
        with open(self.path, "rb") as file:
            line = 1 + sum(block.count(b"\n") for block in _blocks(file, self.offset))
        return f"{self.path}:{line}: {self.detail}"


@contextlib.contextmanager
def open_split(split: InputSplit) -> Iterator[BinaryIO]:
    """The split's file, open for reading; InputError if it is gone, unreadable, or changed since the plan was made."""
    try:
        with open(split.path, "rb") as file:
            status = os.fstat(file.fileno())
            if (status.st_size, status.st_mtime_ns) != (split.file_size, split.modified_ns):
                raise InputError(f"{split.path}: changed while the data was being prepared; run the same command again")
            yield file
    except (FileNotFoundError, PermissionError) as error:
        raise InputError(f"{split.path}: cannot be read: {error.strerror}") from error


def read_file(split: InputSplit) -> bytes:
    """The whole file of a split, without a byte order mark."""
    with open_split(split) as file:
        return file.read().removeprefix(BOM)


def checked(
    text: str, split: InputSplit, offset: int, id: str, meta: dict[str, Any] | None = None
) -> Document | BadDocument:
    """A Document of `text`, unless it is empty (only white space) or not Unicode (lone surrogates)."""
    if not text.strip():
        return BadDocument(split.path, offset, "empty", "the document is empty")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        detail = f"not a Unicode text: lone surrogate U+{ord(text[error.start]):04X} at character {error.start}"
        return BadDocument(split.path, offset, "undecodable", detail)
    return Document(id, text, split.name, meta=meta or {})


def undecodable(split: InputSplit, offset: int, error: UnicodeDecodeError) -> BadDocument:
    """The BadDocument for bytes that are not in the expected encoding."""
    where = offset + error.start
    return BadDocument(
        split.path, where, "undecodable", f"byte 0x{error.object[error.start]:02x} is not valid {error.encoding}"
    )


def _blocks(file: BinaryIO, length: int) -> Iterator[bytes]:
    while length > 0 and (block := file.read(min(length, 1 << 20))):
        length -= len(block)
        yield block
