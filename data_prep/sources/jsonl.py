"""JSON Lines, plain or compressed: one object per line, its fields as `data_prep.sources.records` takes them.

A line belongs to the split in which it begins, so one large file is read by many tasks; a compressed one by one.
"""

import json
from collections.abc import Iterator
from typing import Any

import orjson

from data_prep.sources import records
from data_prep.sources.config import SourceConfig
from data_prep.sources.document import BadDocument, Document, InputSplit, Place
from data_prep.sources.lines import Line, lines_in
from data_prep.sources.streams import compression, decompressed


def read(split: InputSplit, config: SourceConfig) -> Iterator[Document | BadDocument]:
    """The documents of the lines that begin in `split`; blank lines are none. The id is else `name:byte offset`."""
    packed = compression(split.path) is not None
    with decompressed(split.file) as file:
        stop = None if packed else split.stop
        for number, line in enumerate(lines_in(file, split.start, stop, config.max_document_bytes), 1):
            if not line.blank:
                label = f"line {number}" if packed else None
                place = Place(split.file, line.offset, config.max_document_bytes, label)
                yield from _documents(line, place, config)


def _documents(line: Line, place: Place, config: SourceConfig) -> Iterator[Document | BadDocument]:
    if line.too_long:
        yield place.too_long(line.length)
        return
    try:
        record = _parsed(line.data)
    except UnicodeDecodeError as error:
        yield place.undecodable(error)
    except (ValueError, RecursionError) as error:
        yield place.bad("bad_json", f"not JSON: {_first_line(error)}")
    else:
        yield from records.documents(record, place, f"{place.file.name}:{line.offset}", config)


def _parsed(data: bytes) -> Any:
    """orjson, and what it does not take (NaN, lone surrogates, nesting, errors) as `json` sees it."""
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        return json.loads(data.decode("utf-8"))


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
