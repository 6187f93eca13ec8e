"""What a source reads (InputFile, InputSplit) and yields: a Document, or a BadDocument that says what is wrong."""

import functools
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from data_prep.sources.config import SourceKind
from data_prep.sources.storage import is_remote

BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class InputFile:
    """One file of the corpus, recognised by name, size and `version` (time of change, or the store's ETag).

    Aligned files are one InputFile of the source `parallel`: its `members` are the files, each with its `lang`.
    """

    path: str
    name: str
    source: SourceKind | Literal["parallel"]
    size: int
    version: str
    lang: str | None = None
    members: tuple["InputFile", ...] = ()


@dataclass(frozen=True)
class InputSplit:
    """Bytes start .. stop of a file: the documents that begin there (parquet: those of the row groups)."""

    file: InputFile
    start: int
    stop: int

    @property
    def path(self) -> str:
        """Where the file lies: an absolute path or a URL."""
        return self.file.path

    @property
    def name(self) -> str:
        """The file's name within the corpus."""
        return self.file.name


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

    @classmethod
    def stored(cls, *, utf8: bytes | Callable[[], bytes], **fields: Any) -> "Document":
        """A Document of which `fields` are known (also `num_bytes`, `num_chars`, `sha256`). Without `text`, that is
        decoded when it is asked for, and the bytes may be read only then.
        """
        document = object.__new__(cls)
        fields["utf8" if isinstance(utf8, bytes) else "_read"] = utf8
        document.__dict__.update(fields)
        return document

    def __getattr__(self, name: str) -> Any:
        if name != "text":
            raise AttributeError(name)
        text = self.__dict__["text"] = self.utf8.decode()
        return text

    @functools.cached_property
    def utf8(self) -> bytes:
        """The text's bytes: every digest, counter and encoder wants them."""
        read = self.__dict__.get("_read")
        return read() if read else self.text.encode()

    @functools.cached_property
    def num_bytes(self) -> int:
        """Bytes of the text."""
        return len(self.utf8)

    @functools.cached_property
    def num_chars(self) -> int:
        """Characters of the text."""
        return len(self.text)

    @functools.cached_property
    def sha256(self) -> bytes:
        """The digest of the text's bytes."""
        return hashlib.sha256(self.utf8).digest()


@dataclass(frozen=True)
class BadDocument:
    """A place where a document should be. `reason` is one word to count by, `detail` is what to show.

    `place` says where in the file it is, for people; without it, `offset` counts the bytes of a text file.
    """

    path: str
    offset: int
    reason: str
    detail: str
    place: str | None = None

    def describe(self) -> str:
        """`file:line: what is wrong`. Reads a local text file up to the place to count its lines."""
        if self.place is not None:
            return f"{self.path}: {self.place}: {self.detail}" if self.place else f"{self.path}: {self.detail}"
        line = None if is_remote(self.path) else _line_of(self.path, self.offset)
        return f"{self.path}:{line}: {self.detail}" if line else f"{self.path}: byte {self.offset}: {self.detail}"


class Place(NamedTuple):
    """Where in a file a document is, and the most bytes it may have."""

    file: InputFile
    offset: int
    limit: int
    label: str | None = None  # see BadDocument.place

    def bad(self, reason: str, detail: str) -> BadDocument:
        """What is wrong here."""
        return BadDocument(self.file.path, self.offset, reason, detail, self.label)

    def undecodable(self, error: UnicodeDecodeError) -> BadDocument:
        """The BadDocument for bytes that are not in the expected encoding."""
        detail = f"byte 0x{error.object[error.start]:02x} is not valid {error.encoding}"
        return self._replace(offset=self.offset + error.start).bad("undecodable", detail)

    def decoded(
        self,
        data: bytes,
        id: str,
        *,
        encoding: str = "utf-8",
        lang: str | None = None,
        meta: Mapping[str, Any] | None = None,
    ) -> "Document | BadDocument":
        """The document of a text's bytes, unless they are not in that encoding, or hold NUL bytes."""
        try:
            text = data.decode(encoding)
        except UnicodeDecodeError as error:
            return self.undecodable(error)
        if "\0" in text:
            return self.bad("binary", f"a NUL byte at character {text.index(chr(0))}: not a text")
        return self.document(text, id, lang=lang, meta=meta)

    def too_long(self, length: int | None = None) -> BadDocument:
        """The BadDocument for one of `length` bytes (None: more than the limit)."""
        has = f"has {length:,} bytes" if length else "is longer than that"
        return self.bad("too_long", f"the document {has}; at most {self.limit:,} are taken (data.max_document_bytes)")

    def document(
        self,
        text: str,
        id: str,
        *,
        lang: str | None = None,
        pair: str | None = None,
        meta: Mapping[str, Any] | None = None,
    ) -> Document | BadDocument:
        """A Document of `text`, unless it is empty (only white space), too long or not Unicode (lone surrogates, in the
        text, id or language).
        """
        if not text or text.isspace():
            return self.bad("empty", "the document is empty")
        for what, name in (("id", id), ("language", lang), ("pair", pair)):
            if name and not name.isascii() and (error := _surrogate(name)):
                return self.bad("undecodable", f"the {what} is {_not_unicode(error)}")
        try:
            utf8 = text.encode()
        except UnicodeEncodeError as error:
            return self.bad("undecodable", _not_unicode(error))
        if len(utf8) > self.limit:
            return self.too_long(len(utf8))
        return Document.stored(
            id=id,
            text=text,
            source=self.file.name,
            lang=lang,
            pair=pair,
            meta=dict(meta or {}),
            utf8=utf8,
            num_bytes=len(utf8),
            num_chars=len(text),
        )


def _surrogate(name: str) -> UnicodeEncodeError | None:
    """The error for a name with a lone surrogate."""
    try:
        name.encode()
    except UnicodeEncodeError as error:
        return error
    return None


def _not_unicode(error: UnicodeEncodeError) -> str:
    return f"not a Unicode text: lone surrogate U+{ord(error.object[error.start]):04X} at character {error.start}"


def _line_of(path: str, offset: int) -> int | None:
    """The line that holds byte `offset`; None when the file cannot be read any more."""
    line, left = 1, offset
    try:
        with open(path, "rb") as file:
            while left > 0 and (block := file.read(min(left, 1 << 20))):
                line, left = line + block.count(b"\n"), left - len(block)
    except OSError:
        return None
    return line
