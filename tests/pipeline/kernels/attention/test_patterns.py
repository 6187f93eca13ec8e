import numpy as np
import pytest
import torch

from pipeline.corruption import philox
from pipeline.kernels.attention import IntervalPattern, Keep
from pipeline.kernels.attention.patterns import row_indices

# Sequences of 3, 0, 1 and 4 rows, then two unused ones, then a tail of 2 rows.
CU_SEQLENS = torch.tensor([0, 3, 3, 4, 8, 8, 8], dtype=torch.int32)
NUM_ROWS = 10
SEQUENCES = [slice(0, 3), slice(3, 3), slice(3, 4), slice(4, 8)]


def masks(pattern: IntervalPattern) -> list[list[list[int]]]:
    return [pattern.visible(rows, rows).int().tolist() for rows in SEQUENCES]


def test_rows_are_numbered_within_their_sequence_and_the_tail_is_minus_one() -> None:
    assert row_indices(CU_SEQLENS, NUM_ROWS).tolist() == [0, 1, 2, 0, 0, 1, 2, 3, -1, -1]


def test_full_shows_every_key_of_the_sequence() -> None:
    pattern = IntervalPattern.full(CU_SEQLENS, NUM_ROWS, CU_SEQLENS, NUM_ROWS)
    assert masks(pattern) == [[[1] * 3] * 3, [], [[1]], [[1] * 4] * 4]
    assert pattern.shows_all


def test_full_across_two_views_takes_the_keys_lengths() -> None:
    cu_keys = torch.tensor([0, 2, 5, 5, 6, 6, 6], dtype=torch.int32)
    pattern = IntervalPattern.full(CU_SEQLENS, NUM_ROWS, cu_keys, 8)
    assert pattern.visible(SEQUENCES[0], slice(0, 2)).int().tolist() == [[1, 1]] * 3
    assert pattern.a_stop.tolist() == [2, 2, 2, 0, 1, 1, 1, 1, 0, 0]


def test_causal_shows_a_row_itself_and_what_came_before() -> None:
    assert masks(IntervalPattern.causal(CU_SEQLENS, NUM_ROWS)) == [
        [[1, 0, 0], [1, 1, 0], [1, 1, 1]],
        [],
        [[1]],
        [[1, 0, 0, 0], [1, 1, 0, 0], [1, 1, 1, 0], [1, 1, 1, 1]],
    ]


def test_prefix_is_causal_after_a_part_all_rows_see() -> None:
    prefix_lengths = torch.tensor([2, 0, 0, 3, 0, 0])
    assert masks(IntervalPattern.prefix(CU_SEQLENS, NUM_ROWS, prefix_lengths)) == [
        [[1, 1, 0], [1, 1, 0], [1, 1, 1]],
        [],
        [[1]],
        [[1, 1, 1, 0], [1, 1, 1, 0], [1, 1, 1, 0], [1, 1, 1, 1]],
    ]


def test_window_shows_the_neighbours_and_with_a_slot_row_zero() -> None:
    assert masks(IntervalPattern.window(CU_SEQLENS, NUM_ROWS, before=1, after=0))[3] == [
        [1, 0, 0, 0],
        [1, 1, 0, 0],
        [0, 1, 1, 0],
        [0, 0, 1, 1],
    ]
    assert masks(IntervalPattern.window(CU_SEQLENS, NUM_ROWS, before=0, after=1, slot=True))[3] == [
        [1, 1, 0, 0],
        [1, 1, 1, 0],
        [1, 0, 1, 1],
        [1, 0, 0, 1],
    ]


def test_slot_and_others_without_a_keep_test_hides_only_the_row_itself() -> None:
    assert masks(IntervalPattern.slot_and_others(CU_SEQLENS, NUM_ROWS, keep=None))[3] == [
        [1, 1, 1, 1],
        [1, 0, 1, 1],
        [1, 1, 0, 1],
        [1, 1, 1, 0],
    ]


def test_the_keep_test_is_half_a_philox_word_of_the_querys_row_and_the_keys_number() -> None:
    key = philox.stream_key(0, "keep")
    rows, positions = torch.arange(NUM_ROWS), torch.full((NUM_ROWS,), 2**33 + 1)
    pattern = IntervalPattern.slot_and_others(CU_SEQLENS, NUM_ROWS, Keep(0.5, key, rows, positions))
    words = philox.random_bits(key, 2**33 + 1, np.arange(4, 8)[:, None], np.arange(2))
    bits = np.stack([words & 0xFFFF, words >> 16], axis=-1).reshape(4, 4)
    expected = (bits < 2**15) & ~np.eye(4, dtype=bool)
    expected[:, 0] = True
    assert masks(pattern)[3] == expected.astype(int).tolist()


@pytest.mark.parametrize(("rate", "seen"), [(0.0, 1), (1.0, 64)])
def test_a_keep_rate_of_zero_or_one_is_never_or_always(rate: float, seen: int) -> None:
    cu_seqlens = torch.tensor([0, 65], dtype=torch.int32)
    keep = Keep(rate, philox.Key(1, 1), torch.arange(65), torch.zeros(65, dtype=torch.int64))
    mask = IntervalPattern.slot_and_others(cu_seqlens, 65, keep).visible(slice(0, 65), slice(0, 65))
    assert mask[1:].sum(1).tolist() == [seen] * 64


def test_ranks_other_than_the_index_express_two_streams() -> None:
    """MPNet: of 3 rows predicted in the order 2, 0, 1, row i sees the tokens predicted before it."""
    order = torch.tensor([1, 2, 0], dtype=torch.int32)  # rank of each row in the order of prediction
    pattern = IntervalPattern(key_ranks=order, a_start=torch.zeros(3), a_stop=order)
    assert pattern.visible(slice(0, 3), slice(0, 3)).int().tolist() == [[0, 0, 1], [1, 0, 1], [0, 0, 0]]


def test_rows_of_the_tail_see_nothing_in_any_pattern() -> None:
    for pattern in (
        IntervalPattern.full(CU_SEQLENS, NUM_ROWS, CU_SEQLENS, NUM_ROWS),
        IntervalPattern.causal(CU_SEQLENS, NUM_ROWS),
        IntervalPattern.prefix(CU_SEQLENS, NUM_ROWS, torch.full((6,), 4)),
        IntervalPattern.window(CU_SEQLENS, NUM_ROWS, before=9, after=9, slot=True),
        IntervalPattern.slot_and_others(CU_SEQLENS, NUM_ROWS, keep=None),
    ):
        tail = pattern.visible(slice(8, 10), slice(0, 8))
        assert tail.sum() == 0
