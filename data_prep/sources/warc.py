"""WARC: a document is a page of a crawl (or a text, of WET files). Read by one task, from the beginning of the file.

1. fastwarc takes the records apart. Responses and resources that are HTML, and conversions that are plain text, count.
2. A record is a document once the next one begins where it should, or the file ends where it should: a file that was
   cut short, or a record with a wrong length, is noticed and costs the record and what follows.
3. `meta` has the page's `url` and `title`.
"""

import itertools
from collections.abc import Iterator
from typing import Any

from fastwarc.warc import ArchiveIterator, WarcRecordType

from data_prep.sources.config import SourceConfig
from data_prep.sources.document import BadDocument, Document, InputSplit, Place
from data_prep.sources.page import page_document
from data_prep.sources.payload import decoded_body
from data_prep.sources.streams import BrokenFileError, CountedStream, decompressed

_HTML = ("text/html", "application/xhtml+xml")
_KINDS = WarcRecordType.response | WarcRecordType.resource | WarcRecordType.conversion


def read(split: InputSplit, config: SourceConfig) -> Iterator[Document | BadDocument]:
    """The pages of a crawl, in their order. The id is `name:byte offset` (of the content, when it is compressed)."""
    with decompressed(split.file) as file:
        stream, end = CountedStream(file), 0
        waiting = list[Document | BadDocument]()
        for record in _records(stream):
            yield from waiting
            end = record.stream_pos + _least_length(record)
            place = Place(split.file, record.stream_pos, config.max_document_bytes, f"record at {record.stream_pos:,}")
            waiting = list(_documents(record, place, config))
        stream.check(end, "the last record")
        yield from waiting


def _least_length(record: Any) -> int:
    """How many bytes a record has at least: its headers, without superfluous white space, and its content."""
    length = record.headers.get("Content-Length", "")
    if not length.isdecimal():
        raise BrokenFileError(f"the record at byte {record.stream_pos:,} has no length (Content-Length: {length!r})")
    headers = sum(len(name) + len(value) + 4 for name, value in record.headers.items())
    return len("WARC/1.0\r\n") + headers + len("\r\n") + int(length)


def _records(stream: Any) -> Iterator[Any]:
    records = iter(ArchiveIterator(stream, record_types=_KINDS, parse_http=False, stream_detect=False))
    for number in itertools.count():
        try:
            record = next(records)
        except StopIteration:
            return
        except (OSError, ValueError) as error:
            stream.check(0, "the file")  # an error of the stream comes first
            raise BrokenFileError(f"not WARC, or damaged after {number:,} records ({error})") from error
        yield record


def _documents(record: Any, place: Place, config: SourceConfig) -> Iterator[Document | BadDocument]:
    """The document of a record, if it is one."""
    url = record.headers.get("WARC-Target-URI", "")
    meta, id = ({"url": url} if url else {}), f"{place.file.name}:{place.offset}"
    try:
        if record.record_type == WarcRecordType.conversion:
            data = record.reader.read(place.limit + 1)
            yield place.too_long() if len(data) > place.limit else place.decoded(data, id, meta=meta)
            return
        if record.is_http:
            record.parse_http(auto_decode="none")
        kind = record.http_content_type if record.is_http else record.headers.get("Content-Type", "")
        if (kind or "").partition(";")[0].strip().lower() in _HTML:
            yield page_document(
                _body(record, place.limit + 1), place, id, config, charset=record.http_charset, meta=meta
            )
    except (OSError, ValueError) as error:
        yield place.bad("broken_record", f"its content cannot be read ({error})")


def _body(record: Any, limit: int) -> bytes:
    data = record.reader.read(limit)
    headers = record.http_headers if record.is_http else None
    if headers is None or len(data) == limit:
        return data
    return decoded_body(data, headers.get("Transfer-Encoding", ""), headers.get("Content-Encoding", ""), limit)
