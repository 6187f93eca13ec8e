"""Single tokens, spans of drawn lengths and suffixes: exact counts, the papers' distributions, nothing preferred."""

from collections import Counter
from collections.abc import Callable
from math import exp, factorial

import numpy as np
import pytest

from pipeline.corruption.philox import stream_key
from pipeline.corruption.pieces import Pieces, gather_pieces
from pipeline.corruption.select import Selection
from pipeline.corruption.select_spans import GeometricSpans, PoissonSpans, Suffix
from pipeline.corruption.select_tokens import EachToken, ExactlyK

COUNT, LENGTH = 2000, 200
KINDS = (EachToken(rate=0.3), ExactlyK(rate=0.3), PoissonSpans(), GeometricSpans(noise_density=0.3))


def choose(config, pieces: Pieces, name: str = "corruption") -> Selection:
    return config.choose(pieces, config.budget(int(pieces.lengths.max())), stream_key(0, name))


def many(sample: Callable, length: int = LENGTH) -> Pieces:
    return gather_pieces([sample(position, [length]) for position in range(COUNT)])


def masks(config, sample: Callable, name: str = "corruption") -> np.ndarray:
    return choose(config, many(sample), name).mask(COUNT * LENGTH).reshape(COUNT, LENGTH)


@pytest.mark.parametrize("config", KINDS[1:], ids=lambda config: config.kind)
@pytest.mark.parametrize("length", [0, 1, 2, 3, 7, 100, 8192])
def test_exactly_the_budgeted_number_of_tokens_is_selected(config, length: int, sample: Callable) -> None:
    pieces = gather_pieces([sample(position, [length, 5]) for position in range(20)])
    selection, budget = choose(config, pieces), config.budget(max(length, 5))
    hidden = np.add.reduceat(np.append(selection.mask(len(pieces.tokens)), False), pieces.offsets[:-1])
    hidden[pieces.lengths == 0] = 0
    assert hidden.tolist() == budget.most_tokens[pieces.lengths].tolist()
    assert (np.diff(selection.offsets) <= budget.most_spans[pieces.lengths]).all()


def test_each_token_is_selected_at_its_rate_and_rates_0_and_1_are_exact(sample: Callable) -> None:
    assert not masks(EachToken(rate=0.0), sample).any()
    assert masks(EachToken(rate=1.0), sample).all()
    share = masks(EachToken(rate=0.3), sample).mean()
    assert abs(share - 0.3) < 5 * (0.21 / (COUNT * LENGTH)) ** 0.5


@pytest.mark.parametrize("config", KINDS[:2], ids=lambda config: config.kind)
def test_no_single_token_is_preferred_by_its_place(config, sample: Callable) -> None:
    assert np.abs(masks(config, sample).mean(0) - 0.3).max() < 5 * (0.21 / COUNT) ** 0.5


@pytest.mark.parametrize("config", KINDS[2:], ids=lambda config: config.kind)
def test_drawn_spans_fall_as_often_on_the_left_as_on_the_right(config, sample: Callable) -> None:
    share = masks(config, sample).mean(0)
    error = 5 * (0.21 / COUNT) ** 0.5
    assert np.abs(share - share[::-1]).max() < 2 * error
    assert np.abs(share[20:-20] - 0.3).max() < error


@pytest.mark.parametrize("config", KINDS, ids=lambda config: config.kind)
def test_two_streams_draw_independently(config, sample: Callable) -> None:
    one, other = masks(config, sample), masks(config, sample, "decoder")
    assert abs((one & other).mean() - 0.09) < 0.005


def long_lengths(config, sample: Callable) -> np.ndarray:
    """Span lengths in long pieces, where the one that is cut to fit hardly counts."""
    return choose(config, gather_pieces([sample(position, [8192]) for position in range(40)])).lengths


def test_poisson_lengths_are_poisson_with_empty_spans_among_them(sample: Callable) -> None:
    lengths = long_lengths(PoissonSpans(mean_span_length=3.0), sample)
    assert abs(lengths.mean() - 3.0) < 0.05
    counts = Counter(lengths.tolist())
    for length in range(8):
        expected = exp(-3.0) * 3.0**length / factorial(length)
        assert abs(counts[length] / len(lengths) - expected) < 5 * (expected / len(lengths)) ** 0.5 + 1e-3


def test_geometric_lengths_have_spanberts_mean_of_3_8(sample: Callable) -> None:
    lengths = long_lengths(GeometricSpans(), sample)
    assert abs(lengths.mean() - 3.8) < 0.1
    assert (lengths.min(), lengths.max()) == (1, 10)


def test_drawn_spans_are_ascending_and_never_touch(sample: Callable) -> None:
    selection = choose(PoissonSpans(), many(sample))
    same_piece = np.diff(selection.pieces) == 0
    assert (selection.starts[1:][same_piece] > selection.stops[:-1][same_piece]).all()


def test_a_suffix_begins_anywhere_but_at_the_start(sample: Callable) -> None:
    selection = choose(Suffix(), gather_pieces([sample(position, [6, 1, 0]) for position in range(COUNT)]))
    assert np.diff(selection.offsets).tolist() == [1, 0, 0] * COUNT
    counts = Counter(selection.lengths.tolist())
    assert sorted(counts) == [1, 2, 3, 4, 5]
    assert min(counts.values()) > COUNT / 5 * 0.8
