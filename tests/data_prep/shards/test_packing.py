from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_prep.shards.packing import PACKINGS, Windows, _cuts_of_few_pieces, plan_windows

lengths = st.lists(st.one_of(st.integers(0, 12), st.integers(0, 300)), max_size=60)


def offsets(document_lengths: list[int]) -> np.ndarray:
    return np.cumsum([0, *document_lengths], dtype=np.int64)


def pieces(plan: Windows) -> list[list[tuple[int, int]]]:
    """Per window, the (start, stop) of its pieces."""
    spans = list(zip(plan.piece_starts.tolist(), plan.piece_stops.tolist(), strict=True))
    edges = plan.window_offsets.tolist()
    return [spans[start:stop] for start, stop in pairwise(edges)]


@settings(max_examples=300, deadline=None)
@given(lengths, st.integers(1, 100), st.sampled_from(PACKINGS), st.integers(1, 9))
def test_every_token_lies_in_exactly_one_piece_of_one_document_and_no_bound_is_broken(
    docs, window, packing, max_pieces
):
    edges = offsets(docs)
    plan = plan_windows(edges, window, packing, max_pieces)
    covered = [token for windows in pieces(plan) for start, stop in windows for token in range(start, stop)]
    assert sorted(covered) == list(range(sum(docs)))
    for group in pieces(plan):
        assert 1 <= len(group) <= max_pieces
        assert sum(stop - start for start, stop in group) <= window
        assert group == sorted(group)
        for start, stop in group:
            assert start < stop
            assert np.searchsorted(edges, start, "right") == np.searchsorted(edges, stop, "left")
    first_tokens = [group[0][0] for group in pieces(plan)]
    assert first_tokens == sorted(first_tokens)


@settings(max_examples=100, deadline=None)
@given(lengths, st.integers(1, 100), st.integers(1, 9))
def test_document_packing_cuts_each_document_from_its_start_in_windows(docs, window, max_pieces):
    plan = plan_windows(offsets(docs), window, "document", max_pieces)
    expected = [
        (start + cut, min(start + cut + window, start + length))
        for start, length in zip(offsets(docs).tolist(), docs, strict=False)
        for cut in range(0, length, window)
    ]
    assert sorted(piece for group in pieces(plan) for piece in group) == expected


def test_document_packing_of_a_small_chunk_is_what_a_person_would_do():
    # Longest first: 10, 7 and 5 open windows; the first 3 fills up the 7; 3 and 2 fill up the 5; the 1 is left alone.
    plan = plan_windows(offsets([5, 3, 12, 7, 3, 0, 1]), 10, "document", 8)
    assert pieces(plan) == [[(0, 5), (18, 20), (27, 30)], [(5, 8), (20, 27)], [(8, 18)], [(30, 31)]]


def test_concat_packing_of_a_small_chunk_is_what_a_person_would_do():
    plan = plan_windows(offsets([5, 3, 12, 7, 3, 0, 1]), 10, "concat", 8)
    assert pieces(plan) == [[(0, 5), (5, 8), (8, 10)], [(10, 20)], [(20, 27), (27, 30)], [(30, 31)]]


@settings(max_examples=200, deadline=None)
@given(lengths.filter(any), st.integers(1, 400), st.integers(1, 9))
def test_concat_packing_counts_pieces_only_where_that_matters_and_cuts_the_same(docs, window, max_pieces):
    plan = pieces(plan_windows(offsets(docs), window, "concat", max_pieces))
    cuts = _cuts_of_few_pieces(np.unique(offsets(docs)).tolist(), window, max_pieces)
    assert [(group[0][0], group[-1][1]) for group in plan] == list(pairwise(cuts))


def test_concat_packing_starts_a_new_window_where_a_piece_too_many_would_begin():
    plan = plan_windows(offsets([2, 2, 2, 9]), 10, "concat", 2)
    assert pieces(plan) == [[(0, 2), (2, 4)], [(4, 6), (6, 14)], [(14, 15)]]


def test_a_lone_document_of_exactly_one_window_is_one_piece():
    for packing in PACKINGS:
        assert pieces(plan_windows(offsets([568]), 568, packing, 1)) == [[(0, 568)]]


def test_documents_of_natural_lengths_fill_their_windows():
    docs = np.random.default_rng(0).geometric(1 / 400, 1000).tolist()
    assert plan_windows(offsets(docs), 568, "document", 8).fill(568) > 0.98
    assert plan_windows(offsets(docs), 568, "concat", 8).fill(568) > 0.99


def test_a_chunk_without_tokens_has_no_windows():
    plan = plan_windows(offsets([0, 0]), 10, "document", 8)
    assert len(plan) == 0
    assert plan.fill(10) == 1.0


@pytest.mark.parametrize(("window", "packing", "max_pieces"), [(0, "concat", 1), (1, "concat", 0), (1, "shuffle", 1)])
def test_impossible_plans_are_refused(window, packing, max_pieces):
    with pytest.raises(ValueError, match=r"must be at least 1|unknown packing 'shuffle'"):
        plan_windows(offsets([3]), window, packing, max_pieces)
