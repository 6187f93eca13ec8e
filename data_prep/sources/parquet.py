"""Parquet: a document is a row. A row group belongs to the split in which its first byte lies.

Only the columns that are needed are read, a batch of rows at a time. A damaged row group costs itself, a file without
a readable footer the whole file.
"""

from collections.abc import Iterator
from typing import Any, BinaryIO

import pyarrow
from pyarrow import parquet

from data_prep.sources import records
from data_prep.sources.config import SourceConfig
from data_prep.sources.document import BadDocument, Document, InputSplit, Place
from data_prep.sources.rows import rows
from data_prep.sources.streams import BrokenFileError, seekable

_BATCH_ROWS = 256


def read(split: InputSplit, config: SourceConfig) -> Iterator[Document | BadDocument]:
    """The documents of the row groups that begin in `split`, by row. The id is else `name:row`."""
    with seekable(split.file) as stream:
        table = _opened(stream)
        columns, first = records.projected(table.schema_arrow.names, config), 0
        if not columns and table.metadata.num_rows:
            columns = table.schema_arrow.names[:8]  # to be named in the message: none of them is a field asked for
        for number in range(table.metadata.num_row_groups):
            group = table.metadata.row_group(number)
            if split.start <= _first_byte(group) < split.stop:
                yield from _row_group(table, number, first, columns, split, config)
            first += group.num_rows


def _opened(stream: BinaryIO) -> Any:
    try:
        return parquet.ParquetFile(pyarrow.PythonFile(stream, mode="r"))
    except (pyarrow.ArrowException, OSError) as error:
        raise BrokenFileError(f"not parquet, or cut short ({error})") from error


def _row_group(
    table: Any, number: int, first: int, columns: list[str], split: InputSplit, config: SourceConfig
) -> Iterator[Document | BadDocument]:
    row = first
    try:
        for batch in table.iter_batches(_BATCH_ROWS, [number], columns, use_threads=False):
            yield from rows(batch, row, split.file, config)
            row += batch.num_rows
    except (pyarrow.ArrowException, OSError) as error:
        place = Place(split.file, row, config.max_document_bytes, f"row group {number}, from row {row}")
        yield place.bad("broken_file", f"damaged ({error})")


def _first_byte(group: Any) -> int:
    column = group.column(0)
    return min(at for at in (column.dictionary_page_offset, column.data_page_offset) if at is not None)
