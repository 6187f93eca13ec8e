"""The integer primitives: golden bits, and the distributions they promise."""

import itertools
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.corruption.philox import Key, random_bits, stream_key
from pipeline.corruption.sampling import (
    Purpose,
    happens,
    in_range,
    indices_within,
    offsets_of,
    order_by_key,
    smallest_k,
    threshold,
    unit_bits,
)

KEY = stream_key(0, "corruption")
GOLDEN_BITS = ["d2656731", "db78d805", "93d9078b", "d7cb5640", "b56f3325", "2e242e9d", "d1b18b92"]


def test_units_get_these_bits_forever() -> None:
    bits = unit_bits(KEY, np.array([0, 2**33]), np.array([5, 2]), Purpose.SELECT)
    assert [f"{word:08x}" for word in bits] == GOLDEN_BITS


def test_four_neighbouring_units_share_one_block() -> None:
    position, count, purpose = 12345, 11, 3
    bits = unit_bits(KEY, np.array([position]), np.array([count]), purpose)
    units = np.arange(count)
    assert bits.tolist() == random_bits(KEY, position, units // 4, purpose * 4 + units % 4).tolist()


def test_a_units_bits_do_not_depend_on_the_samples_beside_it() -> None:
    positions, counts = np.array([3, 9, 4, 7]), np.array([6, 0, 1, 13])
    together = unit_bits(KEY, positions, counts, 0)
    alone = [unit_bits(KEY, positions[i : i + 1], counts[i : i + 1], 0) for i in range(4)]
    assert together.tolist() == np.concatenate(alone).tolist()


def test_runs_of_length_zero_keep_their_place() -> None:
    offsets = offsets_of([2, 0, 3, 0])
    assert offsets.tolist() == [0, 2, 2, 5, 5]
    assert indices_within(offsets).tolist() == [0, 1, 0, 1, 2]
    assert indices_within(offsets_of([])).tolist() == []


@pytest.mark.parametrize(("probability", "limit"), [(0.0, 0), (1.0, 2**32), (0.5, 2**31), (0.15, 644245094)])
def test_a_probability_is_a_32_bit_threshold(probability: float, limit: int) -> None:
    assert threshold(probability) == limit
    extremes = np.array([0, limit - 1 if limit else 0, min(limit, 2**32 - 1), 2**32 - 1], np.uint32)
    assert happens(extremes, limit).tolist() == [int(word) < limit for word in extremes]


def test_rate_zero_never_happens_and_rate_one_always() -> None:
    bits = unit_bits(KEY, np.array([1]), np.array([10_000]), 0)
    assert not happens(bits, threshold(0.0)).any()
    assert happens(bits, threshold(1.0)).all()
    assert abs(happens(bits, threshold(0.15)).mean() - 0.15) < 4 * np.sqrt(0.15 * 0.85 / 10_000)


@pytest.mark.parametrize("probability", [-0.1, 1.1, float("nan")])
def test_a_probability_outside_zero_and_one_is_refused(probability: float) -> None:
    with pytest.raises(ValueError, match="outside"):
        threshold(probability)


def test_ranges_are_covered_to_both_ends_and_evenly() -> None:
    assert in_range(np.array([0, 2**32 - 1], np.uint32), 10).tolist() == [0, 9]
    assert in_range(np.array([2**32 - 1], np.uint32), 2**32).tolist() == [2**32 - 1]
    drawn = in_range(unit_bits(KEY, np.array([2]), np.array([60_000]), 0), 6)
    expected = 10_000
    chi_squared = ((np.bincount(drawn, minlength=6) - expected) ** 2 / expected).sum()
    assert chi_squared < 20.5  # 5 degrees of freedom, p = 0.001


segments = st.lists(st.lists(st.integers(0, 5), max_size=9), min_size=1, max_size=12)


@given(segments, st.data())
@settings(max_examples=300, deadline=None)
def test_the_smallest_k_are_those_a_plain_sort_gives_ties_by_index(keys: list[list[int]], data: st.DataObject) -> None:
    k = [data.draw(st.integers(0, len(segment))) for segment in keys]
    scale = np.uint32(2**32 // 6)  # few different keys, so ties are many
    flat = np.array([key for segment in keys for key in segment], np.uint32) * scale
    offsets = offsets_of([len(segment) for segment in keys])
    order = [sorted(range(len(segment)), key=lambda i, s=segment: (s[i], i)) for segment in keys]
    expected_order = [int(start) + i for start, chosen in zip(offsets, order, strict=False) for i in chosen]
    assert order_by_key(flat, offsets).tolist() == expected_order
    expected = [i in chosen[:n] for chosen, n, s in zip(order, k, keys, strict=True) for i in range(len(s))]
    assert smallest_k(flat, offsets, np.array(k)).tolist() == expected


def test_long_segments_and_many_segments_are_ordered_alike() -> None:
    rng = np.random.default_rng(1)
    for lengths in ([100_000], [1] * 5000, [0, 8192, 1, 3]):
        offsets = offsets_of(lengths)
        keys = rng.integers(0, 2**32, offsets[-1], dtype=np.uint32)
        segment = np.repeat(np.arange(len(lengths)), lengths)
        assert order_by_key(keys, offsets).tolist() == np.lexsort([keys, segment]).tolist()


def test_every_subset_is_equally_likely() -> None:
    draws, size, k = 30_000, 5, 2
    keys = unit_bits(KEY, np.arange(draws), np.full(draws, size), 0)
    chosen = smallest_k(keys, offsets_of([size] * draws), np.full(draws, k)).reshape(draws, size)
    counts = Counter(tuple(np.flatnonzero(row)) for row in chosen)
    assert sorted(counts) == list(itertools.combinations(range(size), k))
    expected = draws / len(counts)
    assert sum((count - expected) ** 2 / expected for count in counts.values()) < 27.9  # 9 degrees, p = 0.001


def test_purposes_positions_and_streams_draw_independently() -> None:
    count = np.array([40_000])
    base = unit_bits(KEY, np.array([0]), count, 0) / 2**32
    for other in (
        unit_bits(KEY, np.array([0]), count, 1),
        unit_bits(KEY, np.array([1]), count, 0),
        unit_bits(Key(KEY.low ^ 1, KEY.high), np.array([0]), count, 0),
        np.roll(unit_bits(KEY, np.array([0]), count, 0), 1),
    ):
        assert abs(np.corrcoef(base, other / 2**32)[0, 1]) < 4 / np.sqrt(count[0])
