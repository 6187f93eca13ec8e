"""The columns of a dataset as training reads them: one small number for each token of a chunk.

Marks (`words`, `sents`, `ngrams`) and weights are stored so. Spans, which may nest, become marks here: BEGINS at the
first token of a span, CONTINUES at its others, OUTSIDE everywhere else. Of spans that overlap, the one that begins
first stays, among those the longest; the others are part of it.
"""

from collections.abc import Collection
from typing import NamedTuple

import numpy as np

from data_prep.errors import InputError
from data_prep.shards.reader import MappedChunk, Split

CONTINUES, BEGINS, OUTSIDE = 0, 1, 2
SPANS = "spans"


class WantedColumn(NamedTuple):
    """A column that a rule reads; of spans, only those of these kinds (all of them if empty)."""

    name: str
    kinds: tuple[str, ...] = ()


def check_kinds(split: Split, wanted: WantedColumn) -> None:
    """InputError unless the dataset's spans can be of every wanted kind."""
    known = split.manifest.columns[wanted.name].kinds or []
    for kind in wanted.kinds:
        if kind not in known:
            raise InputError(
                f"corruption.select.kinds: {split.folder} has no spans of kind {kind!r}. It has: {', '.join(known)}."
            )


def token_column(split: Split, chunk: int, wanted: WantedColumn) -> np.ndarray:
    """The wanted column of a chunk of `split`, uint8 [tokens]."""
    mapped = split.chunk(chunk)
    if wanted.name != SPANS:
        return mapped.column(wanted.name)
    kinds = split.manifest.columns[SPANS].kinds or []
    return _span_marks(mapped, {kinds.index(kind) for kind in wanted.kinds or kinds})


def _span_marks(chunk: MappedChunk, kinds: set[int]) -> np.ndarray:
    spans = chunk.column(SPANS).astype(np.int64)
    spans[:, :2] += np.repeat(chunk.docs[:-1], np.diff(chunk.span_offsets(SPANS)))[:, None]
    return span_marks(spans, len(chunk.tokens), kinds)


def span_marks(spans: np.ndarray, num_tokens: int, kinds: Collection[int]) -> np.ndarray:
    """The marks [num_tokens] uint8 of those of `spans` (start, stop, kind; [spans, 3]) that are of these kinds."""
    starts, stops = spans[np.isin(spans[:, 2], sorted(kinds)), :2].T
    marks = np.full(num_tokens, OUTSIDE, np.uint8)
    order, end = np.lexsort((-stops, starts)), 0  # by start, longer ones first
    for start, stop in zip(starts[order].tolist(), stops[order].tolist(), strict=True):
        if start >= end:
            marks[start], marks[start + 1 : stop] = BEGINS, CONTINUES
            end = stop
    return marks
