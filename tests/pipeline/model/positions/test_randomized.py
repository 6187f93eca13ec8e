from collections import Counter

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.corruption.philox import stream_key
from pipeline.model.positions.randomized import randomize_positions
from tests.pipeline.conftest import make_view

KEY = stream_key(3, "positions/test")


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 30), min_size=1, max_size=5), st.integers(30, 200), st.integers(0, 4))
def test_each_sequence_gets_as_many_different_ascending_positions_as_it_has_rows(
    lengths: list[int], max_positions: int, tail: int
) -> None:
    view = make_view([[1] * length for length in lengths], sum(lengths) + tail + 1)
    drawn = randomize_positions(view, max_positions, KEY)
    for n in range(len(lengths)):
        positions = drawn.positions[drawn.sequence(n)].tolist()
        assert positions == sorted(set(positions))
        assert all(0 <= position < max_positions for position in positions)
    assert torch.equal(drawn.tokens, view.tokens)


def test_a_sequence_has_its_positions_wherever_it_lies_and_others_have_others() -> None:
    alone = randomize_positions(make_view([[1] * 9]), 100, KEY).positions
    before = randomize_positions(make_view([[1] * 9, [2] * 5], 20), 100, KEY).positions[:9]
    assert torch.equal(alone, before)
    other_sample = randomize_positions(make_view([[1] * 9], sample_position=6), 100, KEY).positions
    other_key = randomize_positions(make_view([[1] * 9]), 100, stream_key(4, "positions/test")).positions
    assert not torch.equal(alone, other_sample)
    assert not torch.equal(alone, other_key)


def test_every_position_is_as_likely_as_another() -> None:
    counts: Counter[int] = Counter()
    for position in range(800):
        counts.update(randomize_positions(make_view([[1] * 5], sample_position=position), 20, KEY).positions.tolist())
    # 800 draws of 5 in 20: 200 each, standard deviation sqrt(800 / 4 * 3 / 4) = 12.2; five of them.
    assert all(abs(counts[number] - 200) < 62 for number in range(20))


def test_a_sequence_with_more_rows_than_positions_keeps_counting() -> None:
    drawn = randomize_positions(make_view([[1] * 30, [2] * 3]), 20, KEY).positions
    assert drawn[:30].tolist() == list(range(30))
    assert sorted(set(drawn[30:].tolist())) == drawn[30:].tolist()
