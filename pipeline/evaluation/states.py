"""What can be said of hidden states without a task: how many directions they use.

Meng et al. 2024 (MAE-LM, arXiv:2302.02060, section 3.1) compare the effective rank of real tokens' states: how many
singular directions hold a share tau of their energy (as in Cai et al. 2021). The entropy's rank (Roy and Vetterli 2007)
counts the same without a threshold.
"""

import torch


def effective_rank(states_RW: torch.Tensor, share: float = 0.9) -> int:
    """The fewest singular directions that hold `share` of the sum of squares of `states_RW` [rows, width].

    The states are taken as they are, not centred, as in the paper.
    """
    energies = _energies(states_RW)
    held = torch.cumsum(energies, 0) / energies.sum()
    return int((held < share - 1e-12).sum()) + 1


def entropy_rank(states_RW: torch.Tensor) -> float:
    """exp of the entropy of the singular values as shares of their sum: between 1 and the width."""
    values = _energies(states_RW).sqrt()
    shares = values / values.sum()
    return float(torch.exp(-torch.special.xlogy(shares, shares).sum()))


def _energies(states_RW: torch.Tensor) -> torch.Tensor:
    """Squares of the singular values, the largest first (float64)."""
    return torch.linalg.svdvals(states_RW.to(torch.float64)).square()
