"""Plain text in UTF-8. A document is a file, a line, or a paragraph (`data.document`)."""

from collections.abc import Iterator

from data_prep.config import DataConfig
from data_prep.sources.document import (
    BadDocument,
    Document,
    InputSplit,
    checked,
    open_split,
    read_file,
    undecodable,
)
from data_prep.sources.lines import lines_in, paragraphs_in

EXTENSIONS = (".txt", ".text", ".md", ".markdown", ".rst")


def read(split: InputSplit, config: DataConfig) -> Iterator[Document | BadDocument]:
    """The documents that begin in `split`; blank lines separate and are none. A byte order mark is dropped."""
    if config.document == "file":
        yield _document(read_file(split), split, 0, split.name)
        return
    with open_split(split) as file:
        pieces: Iterator[tuple[int, bytes]]
        if config.document == "line":
            lines = lines_in(file, split.start, split.stop)
            pieces = ((line.offset, line.data) for line in lines if not line.blank)
        else:
            pieces = paragraphs_in(file, split.start, split.stop)
        for offset, data in pieces:
            yield _document(data.rstrip(b"\r\n"), split, offset, f"{split.name}:{offset}")


def _document(data: bytes, split: InputSplit, offset: int, id: str) -> Document | BadDocument:
    try:
        return checked(data.decode("utf-8"), split, offset, id)
    except UnicodeDecodeError as error:
        return undecodable(split, offset, error)
