"""The fixed pieces a text is encoded in: long documents cost bounded memory, and ids never depend on who asks.

Invariant: the segments of a text joined are the text, and they are a function of the text alone.

Rule, applied from the left until the text ends. A segment has at least `SEGMENT_CHARS` characters. It ends
1. at the first place, at most `SEGMENT_CHARS` further, where the text ends or a space follows something that is not a
   space: no piece of a model trained here crosses such a place, so cutting there changes no id; or, without one,
2. at the first place, however far, where white space (Unicode) follows something that is not white space.
So a segment never splits a word. A single word is one segment, however long. `encoder_text.h` is this rule on UTF-8.
"""

import re
from collections.abc import Iterator

SEGMENT_CHARS = 4096
WORD_MARK = "\u2581"  # SentencePiece's own sign for a space

_BEFORE_SPACE = re.compile(r"(?<=[^ ])(?= )")
_BEFORE_ANY_SPACE = re.compile(r"(?<=\S)(?=\s)")


def segments(text: str) -> Iterator[str]:
    """Cut `text` into its encoding segments; nothing for an empty text."""
    start = 0
    while start < len(text):
        stop = _segment_end(text, start)
        yield text[start:stop]
        start = stop


def _segment_end(text: str, start: int) -> int:
    earliest, latest = start + SEGMENT_CHARS, start + 2 * SEGMENT_CHARS
    place = _BEFORE_SPACE.search(text, earliest, latest + 1)  # + 1: the space itself must be seen
    if place is None and latest < len(text):
        place = _BEFORE_ANY_SPACE.search(text, earliest)
    return place.start() if place else len(text)
