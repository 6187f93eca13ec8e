"""Layout: what encoder, decoder and loss get. A layout turns every piece into one sequence per view.

Every view is one gather from a common source (raw tokens, then filled-in tokens, then the end token): a layout only
lists, in order, which runs of the source a sequence consists of. It also states how many rows a piece can have in a
view, from which the static shapes follow (bounds.py). A new layout is one more class here, with a `kind`, `rows` and
`lay_out`.

Shape suffixes: T raw tokens, F filled-in tokens, P pieces, S spans, K runs, R rows of a view,
W = window + 1 table entries (one per piece length).
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from data_prep.section import Section
from data_prep.tokenizer.special import SpecialTokens
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


class SentinelTargets(Section):
    """T5: the encoder reads the corrupted text, the decoder writes each span after what replaced it. Both end with eos.

    Decoder input is the targets shifted right, starting with pad. No sentinel follows the last span (Raffel et al.
    2020, section 3.1.4 as implemented in `noise_span_to_unique_sentinel` and `nonnoise_span_to_unique_sentinel`). A
    piece without spans gives the end token as its only target; an empty piece is an empty sequence in both views.
    """

    kind: Literal["sentinel_targets"] = "sentinel_targets"

    def rows(self, selected: Budget, filled: Int64Array) -> dict[str, Int64Array]:
        """The most rows one piece has in each view, by its length: [W] int64 tables."""
        lengths = np.arange(len(filled))
        end = np.minimum(lengths, 1)
        return {ENCODER: lengths - selected.fewest_tokens + filled + end, DECODER: selected.most_tokens + filled + end}

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
