"""Lines of a byte range, so that one large file is read by many tasks.

Invariant: whatever the ranges a file is cut into, each of its lines (and paragraphs) belongs to exactly one: the range
in which its first byte lies. A line longer than `limit` is passed over in blocks and never held in memory.
"""

from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from data_prep.sources.document import BOM

_BLOCK = 1 << 16


class Line(NamedTuple):
    """One line with its end (`\\n`, or none at the end of the file)."""

    offset: int
    data: bytes  # empty when the line is too long
    after_blank: bool  # the line before is blank, or there is none
    length: int  # in bytes

    @property
    def blank(self) -> bool:
        """Nothing but white space."""
        return self.data.isspace()

    @property
    def too_long(self) -> bool:
        """Longer than the limit: its bytes are not there."""
        return not self.data


class Paragraph(NamedTuple):
    """A run of lines between blank ones."""

    offset: int
    data: bytes  # empty when it is too long
    length: int  # in bytes


def lines_in(file: BinaryIO, start: int, stop: int | None, limit: int) -> Iterator[Line]:
    """The lines that begin at start .. stop (None: the end). `file` is read onwards only when `start` is 0."""
    for line in _lines_from(file, start, limit):
        if stop is not None and line.offset >= stop:
            return
        yield line


def paragraphs_in(file: BinaryIO, start: int, stop: int | None, limit: int) -> Iterator[Paragraph]:
    """The paragraphs that begin at start .. stop."""
    begin, length, parts = 0, 0, list[bytes]()
    for line in _lines_from(file, start, limit):
        past = stop is not None and line.offset >= stop
        if line.blank:
            if length:
                yield Paragraph(begin, b"".join(parts), length)
                length, parts = 0, []
            if past:
                return
        elif length or (line.after_blank and not past):
            begin = begin if length else line.offset
            length += line.length
            parts.append(line.data)
            if length > limit:
                parts.clear()
        elif past:
            return
    if length:
        yield Paragraph(begin, b"".join(parts), length)


def _lines_from(file: BinaryIO, start: int, limit: int) -> Iterator[Line]:
    """The lines that begin at or after `start`. The line before is read too, to see whether it is blank."""
    offset, after_blank = 0, True
    if start:
        offset = _line_start(file, start - 1)
        file.seek(offset)
    while raw := file.readline(limit + 1):
        length = len(raw)
        if length > limit:
            length += _skip_line(file, raw)
            raw = b""
        line = Line(offset, raw.removeprefix(BOM) if offset == 0 else raw, after_blank, length)
        if line.data or line.length > limit:
            if offset >= start:
                yield line
            after_blank = line.blank
        offset += length


def _skip_line(file: BinaryIO, end: bytes) -> int:
    """Read on to the end of the line of which `end` was read last; the number of bytes passed over."""
    passed = 0
    while not end.endswith(b"\n") and (end := file.readline(_BLOCK)):
        passed += len(end)
    return passed


def _line_start(file: BinaryIO, place: int) -> int:
    """Where the line that holds byte `place` begins."""
    while place > 0:
        begin = max(0, place - _BLOCK)
        file.seek(begin)
        newline = file.read(place - begin).rfind(b"\n")
        if newline >= 0:
            return begin + newline + 1
        place = begin
    return 0
