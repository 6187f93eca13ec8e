"""Static shapes: the bounds hold for every window and some window reaches them."""

import functools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_prep.errors import InputError
from pipeline.corruption.bounds import most_rows
from pipeline.corruption.config import CorruptionConfig
from pipeline.corruption.select import T5Spans


def best_by_search(table: list[int], window: int, max_pieces: int) -> int:
    """The knapsack by trying everything."""

    @functools.cache
    def best(room: int, pieces: int) -> int:
        if not pieces:
            return 0
        return max(table[n] + best(room - n, pieces - 1) for n in range(room + 1))

    return best(window, max_pieces)


@given(st.lists(st.integers(0, 30), min_size=1, max_size=14), st.integers(1, 9))
@settings(max_examples=300, deadline=None)
def test_the_bound_is_the_best_of_all_windows(table: list[int], max_pieces: int) -> None:
    table = [0, *table]
    assert most_rows(np.array(table), max_pieces) == best_by_search(table, len(table) - 1, max_pieces)


def test_one_piece_of_568_tokens_fills_512_and_114_rows() -> None:
    config = CorruptionConfig()
    assert config.max_rows(568, 1) == {"encoder": 512, "decoder": 114}
    assert config.max_targets(568, 1) == 114


@pytest.mark.parametrize(("window", "max_pieces"), [(2, 1), (16, 3), (60, 4), (568, 8)])
@pytest.mark.parametrize("edges", ["t5", "free"])
def test_some_window_reaches_the_bound_in_each_view(window: int, max_pieces: int, edges: str) -> None:
    config = CorruptionConfig(select=T5Spans(edges=edges))
    noise, spans = config.select.budget(window).most_tokens, config.select.budget(window).most_spans
    lengths, end = np.arange(window + 1), np.minimum(np.arange(window + 1), 1)
    bounds = config.max_rows(window, max_pieces)
    assert bounds["encoder"] == best_by_search((lengths - noise + spans + end).tolist(), window, max_pieces)
    assert bounds["decoder"] == best_by_search((noise + spans + end).tolist(), window, max_pieces)
    assert config.max_targets(window, max_pieces) == bounds["decoder"]


def test_more_pieces_than_tokens_change_nothing() -> None:
    assert CorruptionConfig().max_rows(5, 5) == CorruptionConfig().max_rows(5, 500)


def test_a_window_whose_spans_outnumber_the_sentinels_is_refused() -> None:
    config = CorruptionConfig()
    config.check(window=2000, max_pieces=8, num_sentinels=100)
    with pytest.raises(InputError, match=r"stream\.window of at most 20\d\d"):
        config.check(window=4096, max_pieces=8, num_sentinels=100)


@pytest.mark.parametrize(("window", "max_pieces", "field"), [(1, 1, "stream.window"), (568, 0, "stream.max_pieces")])
def test_a_window_with_nothing_to_hide_is_refused_by_field(window: int, max_pieces: int, field: str) -> None:
    with pytest.raises(InputError, match=field):
        CorruptionConfig().check(window, max_pieces, num_sentinels=100)
