"""Elements of simplified HTML that stands as markup in a document's text: from `<p>` up to and with `</p>`.

An end tag closes everything that is still open inside its element; an end tag without a start is passed over; what is
open at the end of the text ends there. Comments (`<!-- -->`) are spans too. Nothing is executed or fetched.
"""

import re
from collections import Counter

from data_prep.columns.spans import COMMENT, ELEMENT, KINDS, CharacterSpans

_TAG = re.compile(
    r"<(?:!--(?P<comment>.*?)(?:-->|\Z)|(?P<end>/?)(?P<name>[A-Za-z][A-Za-z0-9-]*)[^<>]*?(?P<empty>/?)>)", re.S
)
_VOID = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"}
_NUMBERS = {name: number for number, name in enumerate(KINDS)}


def element_spans(text: str) -> CharacterSpans:
    """Elements and comments of `text`, in characters."""
    spans: list[tuple[int, int, int]] = []
    stack: list[tuple[str, int]] = []
    num_open: Counter[str] = Counter()
    for tag in _TAG.finditer(text):
        if tag["name"] is None:
            spans.append((tag.start(), tag.end(), COMMENT))
            continue
        name = tag["name"].lower()
        if tag["end"]:
            while num_open[name]:
                inner, start = stack.pop()
                num_open[inner] -= 1
                spans.append((start, tag.end() if inner == name else tag.start(), _kind(inner)))
                if inner == name:
                    break
        elif tag["empty"] or name in _VOID:
            spans.append((tag.start(), tag.end(), _kind(name)))
        else:
            stack.append((name, tag.start()))
            num_open[name] += 1
    spans += [(start, len(text), _kind(name)) for name, start in stack]
    starts, stops, kinds = zip(*spans, strict=True) if spans else ((), (), ())
    return CharacterSpans(starts, stops, kinds)


def _kind(name: str) -> int:
    number = _NUMBERS.get(name, ELEMENT)
    return number if number > ELEMENT else ELEMENT
