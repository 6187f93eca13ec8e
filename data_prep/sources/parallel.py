"""Aligned files: the same text in several languages (`data.parallel`, aligned by document or by line).

Documents that belong together follow each other and share their `pair`; one whose translations are missing has none.

- `document`: the pair is the files' common name (`*/x.html`, `x.*.txt`).
- `line`: it is that and the number of the line. A line that is blank in one language is left out in that one. Files
  with different numbers of lines are misaligned from some line on, nobody knows which: that is named and counted.
"""

import contextlib
import importlib
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import replace

from data_prep.sources.config import SourceConfig
from data_prep.sources.document import BadDocument, Document, InputFile, InputSplit, Place
from data_prep.sources.lines import Line, lines_in
from data_prep.sources.streams import BrokenFileError, decompressed


def read(split: InputSplit, config: SourceConfig) -> Iterator[Document | BadDocument]:
    """The documents of the files that are one text, text by text."""
    if config.parallel is not None and config.parallel.align == "line":
        yield from _lines(split.file, config)
    else:
        yield from _whole_files(split.file, config)


def _whole_files(group: InputFile, config: SourceConfig) -> Iterator[Document | BadDocument]:
    config = config.model_copy(update={"document": "file"})
    found = [item for member in group.members for item in _file(member, config)]
    aligned = sum(isinstance(item, Document) for item in found) > 1
    for item in found:
        yield replace(item, pair=group.name) if isinstance(item, Document) and aligned else item


def _file(member: InputFile, config: SourceConfig) -> Iterator[Document | BadDocument]:
    source = importlib.import_module(f"data_prep.sources.{member.source}")
    try:
        for item in source.read(InputSplit(member, 0, member.size), config):
            yield replace(item, lang=member.lang) if isinstance(item, Document) else item
    except BrokenFileError as error:
        yield BadDocument(member.path, 0, "broken_file", str(error), place="")


def _lines(group: InputFile, config: SourceConfig) -> Iterator[Document | BadDocument]:
    limit = config.max_document_bytes
    with contextlib.ExitStack() as stack:
        streams = [stack.enter_context(decompressed(member)) for member in group.members]
        for number, lines in enumerate(itertools.zip_longest(*(lines_in(file, 0, None, limit) for file in streams)), 1):
            if None in lines:
                ended = ", ".join(file.name for file, line in zip(group.members, lines, strict=True) if line is None)
                yield BadDocument(
                    group.path, 0, "misaligned", f"{ended}: fewer lines than the other files", f"line {number}"
                )
                return
            yield from _aligned(group, lines, number, limit)


def _aligned(group: InputFile, lines: Sequence[Line], number: int, limit: int) -> Iterator[Document | BadDocument]:
    there = [(member, line) for member, line in zip(group.members, lines, strict=True) if not line.blank]
    found = [_document(member, line, number, limit) for member, line in there]
    aligned = sum(isinstance(item, Document) for item in found) > 1
    for item in found:
        yield replace(item, pair=f"{group.name}:{number}") if isinstance(item, Document) and aligned else item


def _document(member: InputFile, line: Line, number: int, limit: int) -> Document | BadDocument:
    place = Place(member, line.offset, limit, f"line {number}")
    if line.too_long:
        return place.too_long(line.length)
    return place.decoded(line.data.rstrip(b"\r\n"), f"{member.name}:{number}", lang=member.lang)
