"""Positions of two levels: the sentence a row belongs to, and its place in it (BiPE, pipeline/model/positions/bipe.py).

- Where a layout shows rows at positions of their own (visible_only, permuted), both are those of the text.
- Everywhere else rows are numbered as they are shown, and a segment begins where the sentence changes: a sentence that
  is hidden whole leaves no gap to be counted.

Which sentence a row belongs to, the layout itself says: it is asked to lay out numbers of sentences instead of tokens.
What stands for a span is in the sentence of the span's first token (a token for a token, in that token's); what is
added at the ends is in the sentence beside it.

Shape suffixes: T raw tokens, F filled-in tokens, R rows of a view.
"""

import dataclasses

import numpy as np
import numpy.typing as npt

from pipeline.batch import Views
from pipeline.corruption.layout import PieceRows, end_rows
from pipeline.corruption.pieces import Pieces
from pipeline.corruption.reorder import SENTENCES, reordered
from pipeline.corruption.replace import Draws, Replacement
from pipeline.corruption.sampling import Int64Array, indices_within, offsets_of
from pipeline.corruption.select import Selection
from pipeline.kernels.masking.plan import MaskingPlan

_NO_SENTENCE = -1


def with_segments(views: Views, names: frozenset[str], plan: MaskingPlan, pieces: Pieces) -> Views:
    """The `views` of `pieces`, those in `names` with positions [T, 2] int32: segment and place; zeros in the tail."""
    levels = segment_positions(plan, pieces)
    return {
        name: dataclasses.replace(view, positions=_padded(levels[name], len(view.tokens))) if name in names else view
        for name, view in views.items()
    }


def segment_positions(plan: MaskingPlan, pieces: Pieces) -> dict[str, Int64Array]:
    """Segment and place in it of the rows of every view, [R, 2] each."""
    marks = {**pieces.columns, SENTENCES: _begins(pieces).astype(np.uint8)}  # they move with the sentences
    pieces = dataclasses.replace(pieces, tokens=pieces.tokens.astype(np.int64), columns=marks)
    shown = reordered(pieces, plan.key) if plan.reorders else pieces
    selection = plan.config.select.choose(shown, plan.budget, plan.key)
    draws = Draws(shown, plan.key, plan.ordinary, plan.similar)
    replacement = plan.config.replace.fill(selection, plan.special, draws)
    numbers_T = _sentence_numbers(shown)
    original = _sentence_numbers(pieces) if plan.reorders else None
    numbered = dataclasses.replace(shown, tokens=numbers_T, original=original)
    fills = dataclasses.replace(replacement, tokens=numbers_T[_filled_for(shown, selection, replacement)])
    nothing = dict.fromkeys(("pad", "eos", "bos", "cls", "sep"), _NO_SENTENCE)
    views = plan.config.layout.lay_out(numbered, selection, fills, dataclasses.replace(plan.special, **nothing))
    ends = getattr(plan.config.layout, "ends", False)
    return {
        name: _as_shown(rows) if rows.positions is None else _as_in(shown, rows, ends) for name, rows in views.items()
    }


def _begins(pieces: Pieces) -> npt.NDArray[np.bool_]:
    """[T]: where a sentence begins, or a piece of a document."""
    begins_T = pieces.columns[SENTENCES] != 0
    begins_T[pieces.offsets[:-1][pieces.lengths > 0]] = True
    return begins_T


def _sentence_numbers(pieces: Pieces) -> Int64Array:
    """[T]: the number of each token's sentence in its piece."""
    return _count(_begins(pieces), pieces.offsets)


def _count(begins: npt.NDArray[np.bool_], offsets: Int64Array) -> Int64Array:
    """How many segments have begun before each element's own, in its sequence; the first element of each begins one."""
    counts = np.cumsum(begins)
    lengths = np.diff(offsets)
    return counts - np.repeat(counts[offsets[:-1][lengths > 0]], lengths[lengths > 0])


def _places(begins: npt.NDArray[np.bool_]) -> Int64Array:
    """How many elements of its segment lie before each."""
    indices = np.arange(len(begins))
    return indices - np.maximum.accumulate(np.where(begins, indices, 0))


def _filled_for(pieces: Pieces, selection: Selection, replacement: Replacement) -> Int64Array:
    """[F]: the raw token that says which sentence each filled-in one is in."""
    counts = np.diff(replacement.offsets)
    each = np.repeat(counts == selection.lengths, counts)
    source = np.repeat(selection.starts, counts) + np.where(each, indices_within(replacement.offsets), 0)
    last = np.repeat(pieces.offsets[1:][selection.pieces] - 1, counts)  # a place to insert may lie behind the text
    return np.minimum(source, last).clip(min=0)


def _as_shown(rows: PieceRows) -> Int64Array:
    numbers, indices = rows.tokens, np.arange(len(rows.tokens))
    lengths = np.diff(rows.offsets)
    first = np.repeat(rows.offsets[:-1], lengths)
    known = numbers != _NO_SENTENCE
    before = np.maximum.accumulate(np.where(known, indices, -1))
    after = np.minimum.accumulate(np.where(known, indices, len(numbers) - 1)[::-1])[::-1]
    numbers = numbers[np.where(before >= first, before, after)]
    begins = np.diff(numbers, prepend=_NO_SENTENCE) != 0
    begins[rows.offsets[:-1][lengths > 0]] = True
    return np.stack([_count(begins, rows.offsets), _places(begins)], axis=1)


def _as_in(pieces: Pieces, rows: PieceRows, ends: bool) -> Int64Array:
    assert rows.positions is not None, "positions of the text"
    lengths, numbers = pieces.lengths, _sentence_numbers(pieces)
    counts = np.ones_like(numbers)  # what is added at an end is in the sentence of the token there
    if ends:
        for edge in (pieces.offsets[:-1], pieces.offsets[1:] - 1):
            counts[edge[lengths > 0]] += 1
    numbers = np.repeat(numbers, counts)
    offsets = offsets_of(lengths + end_rows(lengths, ends))
    begins = np.diff(numbers, prepend=_NO_SENTENCE) != 0
    begins[offsets[:-1][lengths > 0]] = True
    source = np.repeat(offsets[:-1], np.diff(rows.offsets)) + rows.positions
    return np.stack([numbers, _places(begins)], axis=1)[source]


def _padded(levels_R2: Int64Array, size: int) -> npt.NDArray[np.int32]:
    padded = np.zeros((size, 2), np.int32)
    padded[: len(levels_R2)] = levels_R2
    return padded
