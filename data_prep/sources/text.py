"""Plain text in UTF-8, also compressed. A document is a file, a line, or a paragraph (`data.document`)."""

from collections.abc import Iterator

from data_prep.sources.config import SourceConfig
from data_prep.sources.document import BOM, BadDocument, Document, InputSplit, Place
from data_prep.sources.lines import lines_in, paragraphs_in
from data_prep.sources.streams import compression, decompressed

_LINE_END = 2  # bytes, which do not count


def read(split: InputSplit, config: SourceConfig) -> Iterator[Document | BadDocument]:
    """The documents that begin in `split`; blank lines separate and are none. A byte order mark is dropped."""
    limit, packed = config.max_document_bytes, compression(split.path) is not None
    with decompressed(split.file) as file:
        if config.document == "file":
            data = file.read(limit + len(BOM) + 1).removeprefix(BOM)
            place = Place(split.file, 0, limit, "" if packed else None)
            yield place.too_long() if len(data) > limit else place.decoded(data, split.name)
            return
        find = lines_in if config.document == "line" else paragraphs_in
        for piece in find(file, split.start, None if packed else split.stop, limit + _LINE_END):
            place = Place(split.file, piece.offset, limit, f"byte {piece.offset:,} decompressed" if packed else None)
            if not piece.data:
                yield place.too_long(piece.length)
            elif not piece.data.isspace():
                yield place.decoded(piece.data.rstrip(b"\r\n"), f"{split.name}:{piece.offset}")
