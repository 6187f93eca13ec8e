"""Effective ranks of states whose spectrum is known."""

import pytest
import torch

from pipeline.evaluation.states import effective_rank, entropy_rank


def states_with(energies: list[float]) -> torch.Tensor:
    """[64, 16] states whose squared singular values are `energies`."""
    generator = torch.Generator().manual_seed(0)
    left, _ = torch.linalg.qr(torch.randn(64, len(energies), generator=generator, dtype=torch.float64))
    right, _ = torch.linalg.qr(torch.randn(16, len(energies), generator=generator, dtype=torch.float64))
    return left @ torch.diag(torch.tensor(energies, dtype=torch.float64).sqrt()) @ right.T


@pytest.mark.parametrize(
    ("energies", "rank"),
    [([1.0], 1), ([1.0] * 10, 9), ([8.0, 1.0, 1.0], 2), ([96.0, 1.0, 1.0, 1.0, 1.0], 1), ([5.0, 3.0, 1.5, 0.5], 3)],
)
def test_directions_are_counted_until_they_hold_nine_tenths(energies: list[float], rank: int) -> None:
    assert effective_rank(states_with(energies)) == rank


def test_the_share_is_a_choice() -> None:
    states = states_with([4.0, 3.0, 2.0, 1.0])
    assert [effective_rank(states, share) for share in (0.3, 0.5, 0.75, 0.95, 1.0)] == [1, 2, 3, 4, 4]


def test_equal_directions_count_whole_by_entropy_and_small_ones_little() -> None:
    assert entropy_rank(states_with([2.0] * 7)) == pytest.approx(7.0)
    assert 1.0 < entropy_rank(states_with([1.0, 1e-6])) < 1.1
