"""Spans of a document that mean something: identifiers and comments of source code, elements of HTML.

Invariant: a span of tokens is the smallest run of whole tokens that covers its characters; spans are sorted by start,
longer ones first, then by kind, and no span is there twice. They may nest, and two may share a token.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

# The kind of a span is a place in this list; new kinds are appended. HTML's own kinds are names of elements.
_ELEMENTS = (
    "html head title body main article section nav aside header footer div h1 h2 h3 h4 h5 h6 p blockquote pre code "
    "ul ol li dl dt dd table caption thead tbody tfoot tr th td figure figcaption a em strong b i u s small sub sup "
    "span q cite abbr time button label form select option textarea details summary"
)
IDENTIFIER, COMMENT, ELEMENT = range(3)
KINDS = ("identifier", "comment", "element", *_ELEMENTS.split())


class CharacterSpans(NamedTuple):
    """Spans in characters, in any order: each [spans] of integers."""

    starts: Sequence[int] | np.ndarray
    stops: Sequence[int] | np.ndarray
    kinds: Sequence[int] | np.ndarray


def in_tokens(spans: CharacterSpans, token_starts: np.ndarray) -> np.ndarray:
    """Spans in characters as the runs of tokens that cover them: [spans, 3] int32, sorted, without duplicates."""
    starts, stops, kinds = (np.asarray(part, np.int64) for part in spans)
    kept = stops > starts
    if not len(token_starts) or not kept.any():
        return np.zeros((0, 3), np.int32)
    covering = np.searchsorted(token_starts, starts[kept], side="right") - 1
    first = np.searchsorted(token_starts, token_starts[np.maximum(covering, 0)], side="left")
    last = np.maximum(np.searchsorted(token_starts, stops[kept], side="left"), first + 1)
    rows = np.stack([first, -last, kinds[kept]], axis=1)
    return (np.unique(rows, axis=0) * (1, -1, 1)).astype(np.int32)
