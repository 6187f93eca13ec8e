"""Sentinel targets, written out by hand."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from data_prep.errors import InputError
from data_prep.tokenizer.special import SpecialTokens
from pipeline.corruption.layout import DECODER, ENCODER, PieceRows, SentinelTargets
from pipeline.corruption.philox import stream_key
from pipeline.corruption.pieces import gather_pieces
from pipeline.corruption.replace import Draws, Replacement, SentinelPerSpan, ordinary_tokens
from pipeline.corruption.sampling import offsets_of
from pipeline.corruption.select import Budget, Selection, T5Spans
from pipeline.corruption.similar import load_similar

SPECIAL = SpecialTokens()
PAD, EOS = SPECIAL.pad, SPECIAL.eos
X, Y, Z = SPECIAL.sentinels[:3]


def selection_of(pieces: Sequence[Sequence[tuple[int, int]]], starts: Sequence[int]) -> Selection:
    """Spans given by hand within each piece; `starts` are the pieces' places in the flat tokens."""
    flat = [(start + a, start + b) for start, spans in zip(starts, pieces, strict=True) for a, b in spans]
    return Selection(
        np.array([a for a, _ in flat], np.int64),
        np.array([b for _, b in flat], np.int64),
        offsets_of([len(spans) for spans in pieces]),
    )


def lay_out(
    sample: Callable, lengths: Sequence[int], spans: Sequence[Sequence[tuple[int, int]]]
) -> dict[str, PieceRows]:
    pieces = gather_pieces([sample(0, lengths)])
    selection = selection_of(spans, pieces.offsets[:-1].tolist())
    draws = Draws(pieces, stream_key(0, "corruption"), ordinary_tokens(SPECIAL, 32128), load_similar(None, 32128))
    replacement = SentinelPerSpan().fill(selection, SPECIAL, draws)
    return SentinelTargets().lay_out(pieces, selection, replacement, SPECIAL)


def sequences(rows: PieceRows, values: np.ndarray) -> list[list[int]]:
    return [values[a:b].tolist() for a, b in zip(rows.offsets[:-1], rows.offsets[1:], strict=True)]


def test_the_papers_figure_2(sample: Callable) -> None:
    """Thank you <X> me to your party <Y> week. / <X> for inviting <Y> last.

    The figure's closing <Z> is not there: the released code writes none, and 568 tokens give 512/114 only without it.
    """
    views = lay_out(sample, [10], [[(2, 4), (8, 9)]])
    assert views[ENCODER].tokens.tolist() == [1000, 1001, X, 1004, 1005, 1006, 1007, Y, 1009, EOS]
    assert views[DECODER].labels.tolist() == [X, 1002, 1003, Y, 1008, EOS]
    assert views[DECODER].tokens.tolist() == [PAD, X, 1002, 1003, Y, 1008]
    assert views[ENCODER].labels is None


def test_every_piece_starts_again_at_the_first_sentinel_and_with_the_start_token(sample: Callable) -> None:
    views = lay_out(sample, [4, 3], [[(0, 1), (2, 4)], [(1, 2)]])
    assert sequences(views[ENCODER], views[ENCODER].tokens) == [[X, 1001, Y, EOS], [1004, X, 1006, EOS]]
    assert sequences(views[DECODER], views[DECODER].labels) == [[X, 1000, Y, 1002, 1003, EOS], [X, 1005, EOS]]
    assert sequences(views[DECODER], views[DECODER].tokens) == [[PAD, X, 1000, Y, 1002, 1003], [PAD, X, 1005]]


def test_a_piece_without_spans_is_read_whole_and_only_its_end_is_predicted(sample: Callable) -> None:
    views = lay_out(sample, [1, 2], [[], [(1, 2)]])
    assert sequences(views[ENCODER], views[ENCODER].tokens) == [[1000, EOS], [1001, X, EOS]]
    assert sequences(views[DECODER], views[DECODER].labels) == [[EOS], [X, 1002, EOS]]
    assert sequences(views[DECODER], views[DECODER].tokens) == [[PAD], [PAD, X, 1002]]


def test_an_empty_piece_is_an_empty_sequence_in_both_views(sample: Callable) -> None:
    views = lay_out(sample, [0, 2, 0], [[], [(0, 1)], []])
    assert sequences(views[ENCODER], views[ENCODER].tokens) == [[], [X, 1001, EOS], []]
    assert sequences(views[DECODER], views[DECODER].tokens) == [[], [PAD, X, 1000], []]


def test_a_span_of_no_tokens_is_an_insertion_and_a_fill_may_have_any_length(sample: Callable) -> None:
    """The structures later objectives use: an empty span, a dropped one, one replaced by two tokens, a whole piece."""
    pieces = gather_pieces([sample(0, [4, 2])])
    selection = selection_of([[(1, 1), (2, 3)], [(0, 2)]], [0, 4])
    replacement = Replacement(np.array([X, Y, Z]), np.array([0, 1, 1, 3]))
    views = SentinelTargets().lay_out(pieces, selection, replacement, SPECIAL)
    assert sequences(views[ENCODER], views[ENCODER].tokens) == [[1000, X, 1001, 1003, EOS], [Y, Z, EOS]]
    assert sequences(views[DECODER], views[DECODER].labels) == [[X, 1002, EOS], [Y, Z, 1004, 1005, EOS]]


def test_the_mask_of_a_selection_marks_exactly_its_spans() -> None:
    selection = selection_of([[(0, 0), (1, 3)], [(1, 2)]], [0, 5])
    assert np.flatnonzero(selection.mask(8)).tolist() == [1, 2, 6]


def test_row_tables_add_up_for_an_inexact_selection() -> None:
    """A rule taking 1 to 3 tokens in at most 2 spans: the fewest make the encoder longest, the most the decoder."""
    lengths = np.arange(6)
    budget = Budget(np.minimum(lengths, 1), np.minimum(lengths, 3), np.minimum(lengths, 2))
    rows = SentinelTargets().rows(budget, SentinelPerSpan().budget(budget))
    assert rows[ENCODER].tolist() == [0, 2, 4, 5, 6, 7]
    assert rows[DECODER].tolist() == [0, 3, 5, 6, 6, 6]


def test_more_spans_than_sentinels_are_refused_with_the_longest_window_that_works() -> None:
    budget = T5Spans(noise_density=0.5, mean_span_length=2.0).budget(1000)
    with pytest.raises(InputError) as refused:
        SentinelPerSpan().check(budget, 100)
    limit = int(str(refused.value).split("stream.window of at most ")[1].split(",")[0])
    assert "1000 tokens" in str(refused.value)
    assert "250 spans" in str(refused.value)
    assert T5Spans(noise_density=0.5, mean_span_length=2.0).budget(limit).most_spans.max() == 100
    assert T5Spans(noise_density=0.5, mean_span_length=2.0).budget(limit + 1).most_spans.max() > 100
