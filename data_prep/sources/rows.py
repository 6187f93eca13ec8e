"""Rows of an Arrow batch to documents. A row that is not valid (its text is not UTF-8) costs itself only."""

from collections.abc import Iterator
from typing import Any

import pyarrow

from data_prep.sources import records
from data_prep.sources.config import SourceConfig
from data_prep.sources.document import BadDocument, Document, InputFile, Place


def rows(
    batch: "pyarrow.RecordBatch", first: int, file: InputFile, config: SourceConfig
) -> Iterator[Document | BadDocument]:
    """The documents of a batch whose first row is row `first` of the file; the id of a row is else `name:row`."""
    for number, record in enumerate(_records(batch), first):
        place = Place(file, number, config.max_document_bytes, f"row {number}")
        if isinstance(record, Exception):
            yield place.bad("undecodable", f"damaged or not UTF-8 ({record})")
        else:
            yield from records.documents(record, place, f"{file.name}:{number}", config)


def _records(batch: "pyarrow.RecordBatch") -> Iterator[Any]:
    """Every row as a dictionary, or the error it has."""
    try:
        batch.validate(full=True)  # lengths and offsets, before anything is read by them
        yield from batch.to_pylist()
    except (pyarrow.ArrowException, UnicodeDecodeError):
        for number in range(batch.num_rows):
            row = batch.slice(number, 1)
            try:
                row.validate(full=True)
                [record] = row.to_pylist()
            except (pyarrow.ArrowException, UnicodeDecodeError) as error:
                record = error
            yield record
