"""FLOPs of attention, counted by hand: 4 H D for each pair of a query and a key in its intervals."""

import pytest
import torch

from pipeline.kernels.attention import IntervalPattern, attention, cpu
from pipeline.kernels.attention.flops import forward_flops

# Sequences of 3, 0, 1 and 4 rows, then an unused one, then a tail of 2 rows.
CU_SEQLENS = torch.tensor([0, 3, 3, 4, 8, 8], dtype=torch.int32)
NUM_ROWS, NUM_HEADS, HEAD_DIM = 10, 2, 16
PER_PAIR = 4 * NUM_HEADS * HEAD_DIM

pytestmark = pytest.mark.skipif(not cpu.is_available(), reason="there is no compiler: attention is torch's products")


def pairs(pattern: IntervalPattern, cu_keys: torch.Tensor = CU_SEQLENS, num_keys: int = NUM_ROWS) -> float:
    q_THD, k_THD = (torch.zeros(rows, NUM_HEADS, HEAD_DIM) for rows in (NUM_ROWS, num_keys))
    return forward_flops(lambda: attention(q_THD, k_THD, k_THD, CU_SEQLENS, cu_keys, pattern)) / PER_PAIR


def test_a_stack_that_sees_all_counts_squares_and_a_causal_one_about_half() -> None:
    assert pairs(IntervalPattern.full(CU_SEQLENS, NUM_ROWS, CU_SEQLENS, NUM_ROWS)) == 9 + 1 + 16
    assert pairs(IntervalPattern.causal(CU_SEQLENS, NUM_ROWS)) == 6 + 1 + 10


def test_cross_attention_counts_queries_times_keys() -> None:
    cu_keys = torch.tensor([0, 2, 5, 5, 6, 6], dtype=torch.int32)
    assert pairs(IntervalPattern.full(CU_SEQLENS, NUM_ROWS, cu_keys, 8), cu_keys, 8) == 3 * 2 + 4 * 1


def test_pairs_in_both_intervals_count_once() -> None:
    # Itself and one before; and row 0, which is one of these for the first two rows of a sequence.
    slot = IntervalPattern.window(CU_SEQLENS, NUM_ROWS, before=1, slot=True)
    assert pairs(slot) == (1 + 2 + 3) + 1 + (1 + 2 + 3 + 3)


def test_what_a_rule_hides_of_an_interval_still_counts() -> None:
    others = IntervalPattern.slot_and_others(CU_SEQLENS, NUM_ROWS, keep=None)
    assert pairs(others) == 9 + 1 + 16
    hidden = 2 + 0 + 3  # itself, of every row but row 0, which the slot shows
    seen = sum(int(others.visible(rows, rows).sum()) for rows in (slice(0, 3), slice(3, 4), slice(4, 8)))
    assert seen == 26 - hidden


def test_ranks_in_another_order_count_the_same() -> None:
    pattern = IntervalPattern.causal(CU_SEQLENS, NUM_ROWS)
    pattern.key_ranks[:3] = torch.tensor([2, 0, 1])
    assert pairs(pattern) == 6 + 1 + 10
