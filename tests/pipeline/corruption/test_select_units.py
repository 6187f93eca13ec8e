"""Words, n-grams, given spans, weights and permutations: whole units, the stated shares, cases done by hand."""

from collections import Counter

import numpy as np
import pytest
from pydantic import ValidationError

from pipeline.corruption.philox import stream_key
from pipeline.corruption.pieces import GivenSample, Pieces, gather_pieces
from pipeline.corruption.sampling import Purpose
from pipeline.corruption.select import Selection
from pipeline.corruption.select_tokens import PermutationTail, Weighted
from pipeline.corruption.select_units import GivenSpans, NGrams, WholeWords, marked_units

COUNT, LENGTH = 1000, 120


def choose(config, pieces: Pieces) -> Selection:
    return config.choose(pieces, config.budget(int(pieces.lengths.max())), stream_key(0, "corruption"))


def marked(column: str, marks: list[int], offsets: list[int] | None = None, position: int = 0) -> Pieces:
    values = np.array(marks, np.uint8)
    return gather_pieces(
        [GivenSample(position, np.arange(len(marks)), np.array(offsets or [0, len(marks)]), {column: values})], [column]
    )


def many(column: str, low: int, high: int, share: float) -> Pieces:
    """Random marks: 1 at `share`, else `low`..`high` - 1 where that leaves a choice."""
    rng = np.random.default_rng(0)
    marks = np.where(rng.random((COUNT, LENGTH)) < share, 1, rng.integers(low, high, (COUNT, LENGTH))).astype(np.uint8)
    offsets = np.array([0, LENGTH])
    return gather_pieces(
        [GivenSample(i, np.arange(LENGTH), offsets, {column: row}) for i, row in enumerate(marks)], [column]
    )


def test_a_piece_is_cut_before_every_mark_and_at_its_ends() -> None:
    units = marked_units(marked("words", [0, 0, 1, 0, 1, 1, 0, 1], [0, 6, 6, 8]), "words")
    assert list(zip(units.starts.tolist(), units.stops.tolist(), strict=True)) == [
        (0, 2), (2, 4), (4, 5), (5, 6), (6, 7), (7, 8)
    ]  # fmt: skip
    assert units.offsets.tolist() == [0, 4, 4, 6]


def test_text_between_given_spans_belongs_to_none() -> None:
    units = marked_units(marked("spans", [0, 2, 1, 0, 1, 2, 2, 1]), "spans")
    assert list(zip(units.starts.tolist(), units.stops.tolist(), strict=True)) == [(0, 1), (2, 4), (4, 5), (7, 8)]


def test_words_are_taken_in_the_order_of_their_keys_and_those_that_do_not_fit_are_passed_over() -> None:
    pieces = marked("words", [1, 0, 0, 1, 0, 1, 1, 0, 1, 0])  # words of 3, 2, 1, 2 and 2 tokens; room for 4
    words = [(0, 3), (3, 5), (5, 6), (6, 8), (8, 10)]
    bits = pieces.bits(stream_key(0, "corruption"), Purpose.SELECT)
    expected, room = [], 4
    for start, stop in sorted(words, key=lambda word: bits[word[0]]):
        if stop - start <= room:
            expected.append((start, stop))
            room -= stop - start
    selection = choose(WholeWords(rate=0.4), pieces)
    assert list(zip(selection.starts.tolist(), selection.stops.tolist(), strict=True)) == sorted(expected)


@pytest.mark.parametrize("draw", ["tokens", "units", "each"])
def test_a_word_is_selected_whole_or_not_at_all(draw: str) -> None:
    pieces = many("words", 0, 1, 0.6)
    selection, units = choose(WholeWords(draw=draw, rate=0.3), pieces), marked_units(pieces, "words")
    whole = set(zip(units.starts.tolist(), units.stops.tolist(), strict=True))
    assert set(zip(selection.starts.tolist(), selection.stops.tolist(), strict=True)) <= whole
    share = selection.lengths.sum() / len(pieces.tokens)
    assert abs(share - 0.3) < 0.01
    assert draw != "tokens" or np.bincount(selection.pieces, selection.lengths).max() <= 36


def test_exactly_the_asked_share_of_words_is_taken() -> None:
    pieces = many("words", 0, 1, 0.6)
    num_words = np.diff(marked_units(pieces, "words").offsets)
    selection = choose(WholeWords(draw="units", rate=0.25), pieces)
    assert np.diff(selection.offsets).tolist() == np.rint(num_words * 0.25).astype(int).tolist()


def test_no_word_is_preferred_by_its_place() -> None:
    pieces = many("words", 1, 2, 1.0)  # every token a word
    share = choose(WholeWords(rate=0.3), pieces).mask(len(pieces.tokens)).reshape(COUNT, LENGTH).mean(0)
    assert np.abs(share - 0.3).max() < 5 * (0.21 / COUNT) ** 0.5


def test_ngrams_have_macberts_lengths() -> None:
    pieces = many("words", 1, 2, 1.0)
    runs = NGrams().units(pieces, stream_key(0, "corruption"))
    inner = np.setdiff1d(np.arange(len(runs.starts)), runs.offsets[1:] - 1)  # the last of a piece may be cut
    lengths = Counter((runs.stops - runs.starts)[inner].tolist())
    total = lengths.total()
    for length, share in enumerate((0.4, 0.3, 0.2, 0.1), 1):
        assert abs(lengths[length] / total - share) < 5 * (share / total) ** 0.5 + 2e-3


def test_ngrams_cover_the_piece_and_consist_of_whole_words() -> None:
    pieces = many("words", 0, 1, 0.5)
    runs, words = NGrams().units(pieces, stream_key(0, "corruption")), marked_units(pieces, "words")
    assert (runs.stops - runs.starts).sum() == len(pieces.tokens)
    assert set(runs.starts.tolist()) <= set(words.starts.tolist())
    assert set(runs.stops.tolist()) <= set(words.stops.tolist())


def test_shares_of_ngrams_must_be_a_whole() -> None:
    with pytest.raises(ValidationError, match="add up to 1"):
        NGrams(shares=(0.5, 0.2))


def test_given_spans_are_taken_by_share_up_to_the_limit() -> None:
    pieces = many("spans", 0, 3, 0.2)
    num_spans = np.diff(marked_units(pieces, "spans").offsets)
    taken = np.diff(choose(GivenSpans(rate=0.5, max_spans=14), pieces).offsets)
    assert taken.tolist() == np.minimum(np.rint(num_spans * 0.5), 14).astype(int).tolist()
    assert (num_spans * 0.5 > 14).any()


def test_weighted_tokens_are_drawn_in_proportion_to_their_weights() -> None:
    weights = np.tile(np.array([1, 2, 4, 0], np.uint8), LENGTH // 4)
    offsets = np.array([0, LENGTH])
    samples = [GivenSample(i, np.arange(LENGTH), offsets, {"weight": weights}) for i in range(COUNT)]
    pieces = gather_pieces(samples, ["weight"])
    taken = choose(Weighted(rate=1 / LENGTH), pieces).mask(COUNT * LENGTH).reshape(COUNT, LENGTH // 4, 4).sum((0, 1))
    assert taken.sum() == COUNT
    assert taken[3] == 0
    assert np.abs(taken[:3] / COUNT - np.array([1, 2, 4]) / 7).max() < 5 * (0.25 / COUNT) ** 0.5


def test_the_tail_of_a_permutation_holds_the_largest_keys() -> None:
    pieces = gather_pieces([GivenSample(9, np.arange(20), np.array([0, 8, 8, 20]))])
    selection = choose(PermutationTail(rate=0.25), pieces)
    bits = pieces.bits(stream_key(0, "corruption"), Purpose.SELECT)
    expected = [*np.argsort(bits[:8]).tolist(), *(8 + np.argsort(bits[8:])).tolist()]
    assert selection.order is not None
    assert selection.order.tolist() == expected
    assert selection.starts.tolist() == [*sorted(expected[6:8]), *sorted(expected[17:])]
