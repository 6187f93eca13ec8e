"""A folder of Hugging Face `datasets` (`save_to_disk`): Arrow files, read by pyarrow alone. A document is a row.

An arrow file is streamed from its beginning by one task, a batch of rows at a time; `saved_dataset` finds the files.
"""

from collections.abc import Iterator
from typing import Any, BinaryIO

import pyarrow
from pyarrow import ipc

from data_prep.sources import records
from data_prep.sources.config import SourceConfig
from data_prep.sources.document import BadDocument, Document, InputSplit, Place
from data_prep.sources.rows import rows
from data_prep.sources.streams import BrokenFileError, seekable

_BATCH_ROWS = 256


def read(split: InputSplit, config: SourceConfig) -> Iterator[Document | BadDocument]:
    """The documents of an Arrow file (stream or file format), by row. The id is else `name:row`."""
    row = 0
    with seekable(split.file) as stream:
        try:
            for batch in _batches(stream):
                wanted = batch.select(records.projected(batch.schema.names, config) or batch.schema.names[:8])
                for first in range(0, batch.num_rows, _BATCH_ROWS):
                    yield from rows(wanted.slice(first, _BATCH_ROWS), row + first, split.file, config)
                row += batch.num_rows
        except (pyarrow.ArrowException, OSError) as error:
            if row == 0:
                raise BrokenFileError(f"not an Arrow file, or damaged ({error})") from error
            place = Place(split.file, row, config.max_document_bytes, f"from row {row}")
            yield place.bad("broken_file", f"damaged or cut short ({error})")


def _batches(stream: BinaryIO) -> Iterator[Any]:
    source = pyarrow.PythonFile(stream, mode="r")
    if stream.read(6) == b"ARROW1":
        file = ipc.open_file(source)
        yield from map(file.get_batch, range(file.num_record_batches))
        return
    stream.seek(0)
    yield from ipc.open_stream(source)
