import collections
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.corruption.philox import Key, stream_key
from pipeline.permutation import permute, permute_array

keys = st.builds(Key, st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1))


@settings(max_examples=1000, deadline=None)
@given(st.integers(1, 3000), keys)
def test_it_is_a_permutation_for_any_size_and_key(size, key):
    order = permute_array(np.arange(size), size, key)
    assert np.bincount(order, minlength=size).tolist() == [1] * size


@settings(max_examples=1000, deadline=None)
@given(st.data(), st.integers(1, 2**62), keys)
def test_one_index_and_an_array_of_them_give_the_same_numbers(data, size, key):
    indices = data.draw(st.lists(st.integers(0, size - 1), max_size=5))
    order = permute_array(np.array(indices, np.int64), size, key)
    assert order.tolist() == [permute(index, size, key) for index in indices]
    assert all(0 <= index < size for index in order.tolist())


def test_the_order_never_changes():
    # A changed order would silently give a resumed run other data: these numbers are part of the format.
    key = stream_key(1, "train/epoch 0/block 0")
    assert permute_array(np.arange(10), 10, key).tolist() == [7, 6, 3, 1, 2, 4, 9, 8, 5, 0]
    assert [permute(index, 10**12, key) for index in range(3)] == [931383392247, 190310452214, 204623011595]


def test_all_orders_of_four_come_up_about_equally_often():
    counts = collections.Counter(
        tuple(permute_array(np.arange(4), 4, stream_key(seed, "orders")).tolist()) for seed in range(24 * 200)
    )
    assert len(counts) == math.factorial(4)
    chi_squared = sum((count - 200) ** 2 / 200 for count in counts.values())
    assert chi_squared < 60  # 23 degrees of freedom: a fair order exceeds 60 once in 30,000 times


def test_neighbours_are_torn_apart():
    size = 100_000
    order = permute_array(np.arange(size), size, stream_key(3, "neighbours"))
    assert abs(np.corrcoef(order[:-1], order[1:])[0, 1]) < 0.02
    assert abs(np.corrcoef(order, np.arange(size))[0, 1]) < 0.02
    assert (np.diff(order) == 1).sum() < 10  # one is expected in a random order
    fixed_points = int((order == np.arange(size)).sum())
    assert fixed_points < 10


def test_an_index_outside_is_an_error():
    for index in (-1, 7):
        with pytest.raises(IndexError, match="outside a permutation of 7"):
            permute(index, 7, Key(1, 2))
        with pytest.raises(IndexError, match="outside a permutation of 7"):
            permute_array(np.array([0, index]), 7, Key(1, 2))
    with pytest.raises(ValueError, match="size from 1"):
        permute(0, 0, Key(1, 2))
