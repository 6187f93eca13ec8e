"""Layout: what encoder, decoder and loss get. A layout turns every piece into one sequence per view.

Every view is one gather from a common source (raw tokens, then filled-in tokens, then the end token): a layout only
lists, in order, which runs of the source a sequence consists of. It also states how many rows a piece can have in a
view, from which the static shapes follow (bounds.py). A new layout is one more class here, with a `kind`, `rows` and
`lay_out`.

Shape suffixes: T raw tokens, F filled-in tokens, P pieces, S spans, K runs, R rows of a view,
W = window + 1 table entries (one per piece length).
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from data_prep.section import Section
from data_prep.tokenizer.special import SpecialTokens
from pipeline.batch import IGNORED_LABEL
from pipeline.corruption.pairs import Pairs
from pipeline.corruption.pieces import Pieces
from pipeline.corruption.replace import Replacement
from pipeline.corruption.sampling import Int64Array, indices_within, offsets_of
from pipeline.corruption.select import Budget, Selection

ENCODER = "encoder"
DECODER = "decoder"


@dataclass(frozen=True)
class PieceRows:
    """One view before it gets its static shape: sequence p holds the rows offsets[p]:offsets[p + 1] of piece p."""

    tokens: Int64Array  # [R]
    offsets: Int64Array  # [P + 1]
    labels: Int64Array | None = None  # [R], IGNORED_LABEL where there is no loss
    positions: Int64Array | None = None  # [R], where they are not 0, 1, 2, ... in every sequence
    token_types: Int64Array | None = None  # [R], where they are not all 0


class SentinelTargets(Section):
    """T5: the encoder reads the corrupted text, the decoder writes each span after what replaced it. Both end with eos.

    Decoder input is the targets shifted right, starting with pad. No sentinel follows the last span (Raffel et al.
    2020, section 3.1.4 as implemented in `noise_span_to_unique_sentinel` and `nonnoise_span_to_unique_sentinel`). A
    piece without spans gives the end token as its only target; an empty piece is an empty sequence in both views.
    """

    kind: Literal["sentinel_targets"] = "sentinel_targets"

    needs_length: ClassVar[bool] = False
    needs_order: ClassVar[bool] = False

    def rows(self, selected: Budget, filled: Int64Array) -> dict[str, Int64Array]:
        """The most rows one piece has in each view, by its length: [W] int64 tables."""
        lengths = np.arange(len(filled))
        end = np.minimum(lengths, 1)
        return {ENCODER: _text_rows(selected, filled) + end, DECODER: selected.most_tokens + filled + end}

    def targets(self, selected: Budget, filled: Int64Array) -> Int64Array:
        """The most labels one piece has, by its length: [W] int64."""
        return self.rows(selected, filled)[DECODER]

    def lay_out(
        self, pieces: Pieces, selection: Selection, replacement: Replacement, special: SpecialTokens
    ) -> dict[str, PieceRows]:
        """Both views of every piece."""
        source = np.concatenate([pieces.tokens, replacement.tokens, [special.eos]])
        runs = _Runs(pieces, selection, replacement)
        text, targets = runs.corrupted_text(source), runs.fills_and_spans(source)
        return {
            ENCODER: text,
            DECODER: PieceRows(_shifted_right(targets, special.pad), targets.offsets, labels=targets.tokens),
        }


class FullReconstruction(Section):
    """BART: the encoder reads the corrupted text, the decoder writes the whole original. Both end with eos.

    Decoder input is the original shifted right, starting with pad (Lewis et al. 2020, section 2). With `reorder` the
    encoder's text has its sentences in a drawn order (reorder.py).
    """

    kind: Literal["full_reconstruction"] = "full_reconstruction"
    reorder: bool = False

    needs_length: ClassVar[bool] = False
    needs_order: ClassVar[bool] = False

    def rows(self, selected: Budget, filled: Int64Array) -> dict[str, Int64Array]:
        """The most rows one piece has in each view, by its length: [W] int64 tables."""
        lengths = np.arange(len(filled))
        end = np.minimum(lengths, 1)
        return {ENCODER: _text_rows(selected, filled) + end, DECODER: lengths + end}

    def targets(self, selected: Budget, filled: Int64Array) -> Int64Array:
        """The most labels one piece has, by its length: [W] int64."""
        return self.rows(selected, filled)[DECODER]

    def lay_out(
        self, pieces: Pieces, selection: Selection, replacement: Replacement, special: SpecialTokens
    ) -> dict[str, PieceRows]:
        """Both views of every piece."""
        source = np.concatenate([pieces.tokens, replacement.tokens, [special.eos]])
        runs = _Runs(pieces, selection, replacement)
        original = runs.original(pieces.tokens if pieces.original is None else pieces.original, special.eos)
        text = runs.corrupted_text(source)
        return {
            ENCODER: text,
            DECODER: PieceRows(_shifted_right(original, special.pad), original.offsets, labels=original.tokens),
        }


class InPlace(Section):
    """BERT: one view, the corrupted text itself, with the original tokens as labels at the selected places.

    With `ends` a sequence is cls, text, sep, as in Devlin et al. 2019; the two carry no label. With `pairs` it is two
    segments, each with its end (pairs.py).
    """

    kind: Literal["in_place"] = "in_place"
    ends: bool = True
    pairs: Pairs | None = None

    needs_length: ClassVar[bool] = True
    needs_order: ClassVar[bool] = False

    def rows(self, selected: Budget, filled: Int64Array) -> dict[str, Int64Array]:
        """The rows one piece has, by its length: [W] int64 tables."""
        lengths = np.arange(len(filled))
        parting = (lengths >= 2) & (self.pairs is not None)
        return {ENCODER: lengths + end_rows(lengths, self.ends) + parting}

    def targets(self, selected: Budget, filled: Int64Array) -> Int64Array:
        """The most labels one piece has, by its length: [W] int64."""
        return selected.most_tokens

    def lay_out(
        self, pieces: Pieces, selection: Selection, replacement: Replacement, special: SpecialTokens
    ) -> dict[str, PieceRows]:
        """The view of every piece."""
        tokens, labels = filled_in(pieces, selection, replacement)
        rows = PieceRows(tokens, pieces.offsets, labels=labels)
        return {ENCODER: with_ends(rows, pieces.lengths, special) if self.ends else rows}


class VisibleOnly(Section):
    """MAE-LM, 3ML: the encoder gets only the tokens that were not selected, each at its own position; the decoder gets
    the whole text as the replacement rule left it, with labels at the selected places. With `ends` both are between cls
    and sep.

    Meng et al. 2024 (MAE-LM), section 3; Liao et al. 2022 (3ML), section 2 and figure 2.
    """

    kind: Literal["visible_only"] = "visible_only"
    ends: bool = False

    needs_length: ClassVar[bool] = True
    needs_order: ClassVar[bool] = False

    def rows(self, selected: Budget, filled: Int64Array) -> dict[str, Int64Array]:
        """The most rows one piece has in each view, by its length: [W] int64 tables."""
        lengths = np.arange(len(filled))
        ends = end_rows(lengths, self.ends)
        return {ENCODER: lengths - selected.fewest_tokens + ends, DECODER: lengths + ends}

    def targets(self, selected: Budget, filled: Int64Array) -> Int64Array:
        """The most labels one piece has, by its length: [W] int64."""
        return selected.most_tokens

    def lay_out(
        self, pieces: Pieces, selection: Selection, replacement: Replacement, special: SpecialTokens
    ) -> dict[str, PieceRows]:
        """Both views of every piece."""
        tokens, labels = filled_in(pieces, selection, replacement)
        visible = ~selection.mask(len(tokens))
        offsets = offsets_of(visible)[pieces.offsets]
        seen = PieceRows(pieces.tokens[visible], offsets, positions=indices_within(pieces.offsets)[visible])
        views = {ENCODER: seen, DECODER: PieceRows(tokens, pieces.offsets, labels=labels)}
        if not self.ends:
            return views
        return {name: with_ends(rows, pieces.lengths, special) for name, rows in views.items()}


def end_rows(lengths: Int64Array, ends: bool) -> Int64Array:
    """The rows that cls and sep add to pieces of these lengths."""
    return 2 * np.minimum(lengths, 1) * ends


def with_ends(rows: PieceRows, lengths: Int64Array, special: SpecialTokens, sep_last: bool = True) -> PieceRows:
    """`rows` of pieces of these lengths [P], with cls before each that has tokens and sep after it (or after cls).

    Positions count cls; neither has a label. A piece none of whose tokens are among `rows` still has its ends.
    """
    counts, some = np.diff(rows.offsets), lengths > 0
    offsets = offsets_of(counts + end_rows(lengths, True))
    before = 1 if sep_last else 2
    place = np.arange(len(rows.tokens)) + np.repeat(offsets[:-1] - rows.offsets[:-1] + before, counts)
    first = offsets[:-1][some]
    last = offsets[1:][some] - 1 if sep_last else first + 1

    def laid(values: Int64Array, at_cls: int, at_sep: int | Int64Array) -> Int64Array:
        out = np.empty(offsets[-1], np.int64)
        out[place], out[first], out[last] = values, at_cls, at_sep
        return out

    return PieceRows(
        laid(rows.tokens, special.cls, special.sep),
        offsets,
        labels=None if rows.labels is None else laid(rows.labels, IGNORED_LABEL, IGNORED_LABEL),
        positions=None if rows.positions is None else laid(rows.positions + 1, 0, lengths[some] + 1),
    )


def _text_rows(selected: Budget, filled: Int64Array) -> Int64Array:
    """The most tokens of a corrupted text, by the piece's length, [W]."""
    lengths = np.arange(len(filled))
    rows = lengths - selected.fewest_tokens + filled
    return np.minimum(rows, lengths) if selected.no_empty_spans else rows


def filled_in(pieces: Pieces, selection: Selection, replacement: Replacement) -> tuple[Int64Array, Int64Array]:
    """The text with as many tokens put in as were selected, and the original tokens at those places, both [T]."""
    chosen = np.repeat(selection.starts, selection.lengths) + indices_within(offsets_of(selection.lengths))
    tokens, labels = pieces.tokens.copy(), np.full(len(pieces.tokens), IGNORED_LABEL)
    tokens[chosen], labels[chosen] = replacement.tokens, pieces.tokens[chosen]
    return tokens, labels


class _Runs:
    """The sequences a layout can be made of, each as a list of source runs in the order of the output."""

    def __init__(self, pieces: Pieces, selection: Selection, replacement: Replacement) -> None:
        self.pieces, self.selection = pieces, selection
        self.fill_starts = len(pieces.tokens) + replacement.offsets[:-1]
        self.fill_lengths = np.diff(replacement.offsets)
        self.end = len(pieces.tokens) + len(replacement.tokens)
        self.end_lengths = np.minimum(pieces.lengths, 1)  # an empty piece has no end token

    def corrupted_text(self, source: Int64Array) -> PieceRows:
        """Text up to span, fill, text up to the next span, fill, ..., text after the last span, end token."""
        selection, pieces = self.selection, self.pieces
        starts, lengths, run_offsets = _empty_runs(2 * np.diff(selection.offsets) + 2)
        # Texts start at the piece's start and where spans stop; they stop where spans start and at the piece's end.
        span_run = 2 * np.arange(len(selection.starts)) + 2 * selection.pieces
        first, last = run_offsets[:-1], run_offsets[1:] - 2
        starts[first] = pieces.offsets[:-1]
        starts[span_run + 2] = selection.stops
        text_stops = np.empty_like(starts)
        text_stops[span_run] = selection.starts
        text_stops[last] = pieces.offsets[1:]
        texts = np.concatenate([span_run, last])
        lengths[texts] = text_stops[texts] - starts[texts]
        starts[span_run + 1], lengths[span_run + 1] = self.fill_starts, self.fill_lengths
        starts[last + 1], lengths[last + 1] = self.end, self.end_lengths
        return _gather(source, starts, lengths, run_offsets)

    def fills_and_spans(self, source: Int64Array) -> PieceRows:
        """Fill, span, fill, span, ..., end token."""
        selection = self.selection
        starts, lengths, run_offsets = _empty_runs(2 * np.diff(selection.offsets) + 1)
        fill_run = 2 * np.arange(len(selection.starts)) + selection.pieces
        starts[fill_run], lengths[fill_run] = self.fill_starts, self.fill_lengths
        starts[fill_run + 1], lengths[fill_run + 1] = selection.starts, selection.lengths
        last = run_offsets[1:] - 1
        starts[last], lengths[last] = self.end, self.end_lengths
        return _gather(source, starts, lengths, run_offsets)

    def original(self, text: Int64Array, end: int) -> PieceRows:
        """Text, end token."""
        offsets = offsets_of(self.pieces.lengths + self.end_lengths)
        rows = np.full(offsets[-1], end, np.int64)
        rows[indices_within(self.pieces.offsets) + np.repeat(offsets[:-1], self.pieces.lengths)] = text
        return PieceRows(rows, offsets)


def _empty_runs(num_runs: Int64Array) -> tuple[Int64Array, Int64Array, Int64Array]:
    """Starts [K] and lengths [K] to be filled in, and the boundaries [P + 1] of the pieces' runs."""
    offsets = offsets_of(num_runs)
    return np.empty(offsets[-1], np.int64), np.empty(offsets[-1], np.int64), offsets


def _gather(source: Int64Array, starts: Int64Array, lengths: Int64Array, run_offsets: Int64Array) -> PieceRows:
    """The runs of `source` one after another, with the boundaries of the pieces they belong to."""
    row_offsets = offsets_of(lengths)
    index = np.repeat(starts, lengths) + indices_within(row_offsets)
    return PieceRows(source[index], row_offsets[run_offsets])


def _shifted_right(targets: PieceRows, start_token: int) -> Int64Array:
    """Each sequence's tokens one row later, its last dropped and `start_token` put first."""
    shifted = np.empty_like(targets.tokens)
    shifted[1:] = targets.tokens[:-1]
    firsts = targets.offsets[:-1][np.diff(targets.offsets) > 0]
    shifted[firsts] = start_token
    return shifted
