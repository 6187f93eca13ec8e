"""Lines of a byte range, so that one large file is read by many tasks.

Invariant: whatever the ranges a file is cut into, each of its lines (and paragraphs) belongs to exactly one: the range
in which its first byte lies.
"""

from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from data_prep.sources.document import BOM

_BLOCK = 1 << 16


class Line(NamedTuple):
    """One line with its end (`\\n`, or none at the end of the file)."""

    offset: int
    data: bytes
    after_blank: bool  # the line before is blank, or there is none

    @property
    def blank(self) -> bool:
        """Nothing but white space."""
        return not self.data.strip()


def lines_in(file: BinaryIO, start: int, stop: int) -> Iterator[Line]:
    """The lines that begin at start .. stop."""
    for line in _lines_from(file, start):
        if line.offset >= stop:
            return
        yield line


def paragraphs_in(file: BinaryIO, start: int, stop: int) -> Iterator[tuple[int, bytes]]:
    """Offset and bytes of the paragraphs (runs of lines between blank ones) that begin at start .. stop."""
    begin, parts = 0, list[bytes]()
    for line in _lines_from(file, start):
        if line.blank:
            if parts:
                yield begin, b"".join(parts)
                parts = []
            if line.offset >= stop:
                return
        elif parts:
            parts.append(line.data)
        elif line.offset >= stop:
            return
        elif line.after_blank:
            begin, parts = line.offset, [line.data]
    if parts:
        yield begin, b"".join(parts)


def _lines_from(file: BinaryIO, start: int) -> Iterator[Line]:
    """The lines that begin at or after `start`. The line before is read too, to see whether it is blank."""
    offset = _line_start(file, start - 1) if start else 0
    after_blank = True
    file.seek(offset)
    while raw := file.readline():
        line = Line(offset, raw.removeprefix(BOM) if offset == 0 else raw, after_blank)
        if offset >= start:
            yield line
        offset += len(raw)
        after_blank = line.blank


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
