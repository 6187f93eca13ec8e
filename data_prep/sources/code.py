"""Source code: a document is a file, exactly as it is. UTF-8; Python files in the encoding they declare (PEP 263)."""

import io
import tokenize
from collections.abc import Iterator

from data_prep.sources.config import SourceConfig
from data_prep.sources.document import BOM, BadDocument, Document, InputSplit, Place
from data_prep.sources.kinds import PYTHON
from data_prep.sources.streams import seekable


def read(split: InputSplit, config: SourceConfig) -> Iterator[Document | BadDocument]:
    """The one document of a file."""
    place = Place(split.file, 0, config.max_document_bytes)
    with seekable(split.file) as file:
        data = file.read(place.limit + 1).removeprefix(BOM)
    if len(data) > place.limit:
        yield place.too_long(split.file.size)
        return
    try:
        yield place.decoded(data, split.name, encoding=_encoding(split, data))
    except (SyntaxError, LookupError) as error:
        yield place.bad("undecodable", f"no such encoding: {error}")


def _encoding(split: InputSplit, data: bytes) -> str:
    if not split.path.endswith(PYTHON) or b"coding" not in data[:400]:
        return "utf-8"
    try:
        return tokenize.detect_encoding(io.BytesIO(data).readline)[0]
    except UnicodeDecodeError:
        return "utf-8"
