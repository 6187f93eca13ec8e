"""Spans of a document that mean something: identifiers and comments of source code, elements of HTML.

Invariant: a span of tokens is the smallest run of whole tokens that covers its characters; spans are sorted by start,
longer ones first, then by kind, and no span is there twice. They may nest, and two may share a token.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np

from data_prep.sources.document import Document

# The kind of a span is a place in this list; new kinds are appended. HTML's own kinds are names of elements.
_ELEMENTS = (
    "html head title body main article section nav aside header footer div h1 h2 h3 h4 h5 h6 p blockquote pre code "
    "ul ol li dl dt dd table caption thead tbody tfoot tr th td figure figcaption a em strong b i u s small sub sup "
    "span q cite abbr time button label form select option textarea details summary"
)
IDENTIFIER, COMMENT, ELEMENT = range(3)
KINDS = ("identifier", "comment", "element", *_ELEMENTS.split())

SpanSource = Literal["code", "python", "html"]


class CharacterSpans(NamedTuple):
    """Spans in characters, in any order: each [spans] of integers."""

    starts: Sequence[int] | np.ndarray
    stops: Sequence[int] | np.ndarray
    kinds: Sequence[int] | np.ndarray


def packages(source: SpanSource | None) -> list[str]:
    """The libraries that find these spans, by the names they are installed under."""
    if source is None or source == "html":
        return []
    from data_prep.columns.code_spans import grammar_packages

    return ["tree-sitter", *grammar_packages(source)]


def token_spans(document: Document, source: SpanSource, token_starts: np.ndarray) -> np.ndarray:
    """The spans of a document as (start, stop, kind), in tokens: [spans, 3] int32."""
    return in_tokens(_character_spans(document, source), token_starts)


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


def _character_spans(document: Document, source: SpanSource) -> CharacterSpans:
    # Imported here: only these columns need a parser.
    if source == "html":
        from data_prep.columns.html_spans import element_spans

        return element_spans(document.text)
    from data_prep.columns.code_spans import code_spans

    return code_spans(document, source)
