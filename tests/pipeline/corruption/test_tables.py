"""Length tables and weighted keys: exact entries, and the distributions they promise."""

import math
from fractions import Fraction

import numpy as np
import pytest

from pipeline.corruption.philox import stream_key
from pipeline.corruption.sampling import offsets_of, smallest_k, unit_bits
from pipeline.corruption.tables import (
    geometric_table,
    look_up_length,
    negative_log2,
    poisson_table,
    weighted_keys,
)

KEY = stream_key(0, "tables")
DRAWS = 100_000


def bits(count: int = DRAWS, position: int = 0) -> np.ndarray:
    return unit_bits(KEY, np.array([position]), np.array([count]), 0)


def test_the_table_of_barts_poisson_lengths_starts_with_these_words() -> None:
    assert poisson_table(3.0)[:6].tolist() == [213833830, 855335321, 1817587558, 2779839795, 3501528972, 3934542479]
    assert len(poisson_table(3.0)) == 20


@pytest.mark.parametrize("mean", [0.1, 1.0, 3.0, 3.5, 30.0])
def test_a_poisson_table_is_the_cumulative_distribution_to_32_bits(mean: float) -> None:
    table = poisson_table(mean)
    total, term = 0.0, math.exp(-mean)
    for length, entry in enumerate(table.tolist()):
        total += term
        term *= mean / (length + 1)
        assert abs(entry - total * 2**32) < 2  # float64 next to exact arithmetic
    assert 2**32 - table[-1] <= 1


def test_spanberts_geometric_lengths_are_cut_at_ten_and_average_3_8() -> None:
    table = geometric_table(0.2, 10)
    weights = [Fraction(1, 5) * Fraction(4, 5) ** (length - 1) for length in range(1, 11)]
    cumulative = [sum(weights[:length], Fraction(0)) / sum(weights) for length in range(11)]
    assert table.tolist() == [int(2**32 * share) for share in cumulative]
    lengths = look_up_length(bits(), table)
    assert lengths.min() == 1
    assert lengths.max() == 10
    assert abs(lengths.mean() - 3.797) < 0.03  # Joshi et al. 2020, section 3.1: mean 3.8


def test_poisson_lengths_have_the_mean_the_variance_and_the_share_of_empty_spans() -> None:
    lengths = look_up_length(bits(), poisson_table(3.0))
    assert abs(lengths.mean() - 3.0) < 4 * math.sqrt(3 / DRAWS)
    assert abs(lengths.var() - 3.0) < 0.1
    assert abs((lengths == 0).mean() - math.exp(-3)) < 4 * math.sqrt(0.05 / DRAWS)


def test_the_outermost_bits_give_the_outermost_lengths() -> None:
    extremes = np.array([0, 2**32 - 1], np.uint32)
    assert look_up_length(extremes, geometric_table(0.2, 10)).tolist() == [1, 10]
    assert look_up_length(extremes, geometric_table(1.0, 4)).tolist() == [1, 1]
    assert look_up_length(extremes, poisson_table(3.0)).tolist() == [0, 19]


def test_a_length_starts_at_its_own_entry() -> None:
    table = poisson_table(3.0)
    edges = np.array([table[0] - 1, table[0], table[1] - 1, table[1]], np.uint32)
    assert look_up_length(edges, table).tolist() == [0, 1, 1, 2]


@pytest.mark.parametrize(
    "call", [lambda: poisson_table(0.0), lambda: geometric_table(0.0, 3), lambda: geometric_table(0.2, 0)]
)
def test_a_distribution_that_does_not_exist_is_refused(call) -> None:
    with pytest.raises(ValueError, match=r"mean|length"):
        call()


def test_the_fixed_point_logarithm_is_close_everywhere_and_never_rises() -> None:
    values = np.unique(np.concatenate([bits(), np.arange(5000, dtype=np.uint32), 2**32 - 1 - np.arange(5000)]))
    logs = negative_log2(values.astype(np.uint32)).astype(np.int64)
    exact = -np.log2((values.astype(np.float64) + 1) / 2**32)
    assert np.abs(logs / 2**26 - exact).max() < 3e-7  # linear interpolation over 2**-10 of an octave, and rounding
    assert (np.diff(logs) <= 0).all()
    assert negative_log2(np.array([0, 2**31 - 1, 2**32 - 1], np.uint32)).tolist() == [32 << 26, 1 << 26, 1]


def test_weights_decide_how_often_a_unit_comes_first() -> None:
    weights = np.array([1, 2, 4, 1], np.uint8)
    draws = 40_000
    keys = weighted_keys(unit_bits(KEY, np.arange(draws), np.full(draws, 4), 0), np.tile(weights, draws))
    first = smallest_k(keys, offsets_of([4] * draws), np.ones(draws, np.int64)).reshape(draws, 4).mean(axis=0)
    assert np.abs(first - weights / 8).max() < 4 * math.sqrt(0.25 / draws)


def test_the_second_choice_is_weighted_among_those_left() -> None:
    weights, draws = np.array([1, 3, 6], np.uint8), 40_000
    keys = weighted_keys(unit_bits(KEY, np.arange(draws), np.full(draws, 3), 0), np.tile(weights, draws))
    pairs = smallest_k(keys, offsets_of([3] * draws), np.full(draws, 2)).reshape(draws, 3)
    left_out = 1 - pairs.mean(axis=0)
    shares = weights / 10
    expected = [
        sum(shares[i] * shares[j] / (1 - shares[i]) for i in range(3) for j in range(3) if i != j and out not in (i, j))
        for out in range(3)
    ]
    assert np.abs(left_out - expected).max() < 4 * math.sqrt(0.25 / draws)


def test_weight_zero_is_taken_only_when_nothing_else_is_left() -> None:
    weights = np.array([0, 200, 0, 1], np.uint8)
    draws = 500
    keys = weighted_keys(unit_bits(KEY, np.arange(draws), np.full(draws, 4), 0), np.tile(weights, draws))
    two = smallest_k(keys, offsets_of([4] * draws), np.full(draws, 2)).reshape(draws, 4)
    assert two.tolist() == [[False, True, False, True]] * draws
    three = smallest_k(keys, offsets_of([4] * draws), np.full(draws, 3)).reshape(draws, 4)
    assert three.tolist() == [[True, True, False, True]] * draws


def test_the_smallest_bits_still_come_before_weight_zero() -> None:
    keys = weighted_keys(np.array([0, 0], np.uint32), np.array([0, 1], np.uint8))
    assert keys[1] < keys[0]
