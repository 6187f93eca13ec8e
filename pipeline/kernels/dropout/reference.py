"""The plain torch specification of stateless dropout.

counter = (row within the sample's view, draw // 4, position low, position high); element c of a row is draw c.
"""

from dataclasses import dataclass

import torch

from pipeline.corruption.philox import Key
from pipeline.kernels.philox import probability_threshold, random_bits


@dataclass(frozen=True)
class Dropout:
    """What is dropped from T rows: the rate, the stream's key and the rows' names."""

    rate: float
    key: Key
    sample_rows: torch.Tensor  # [T] integer
    sample_positions: torch.Tensor  # [T] integer

    def rows(self, start: int, stop: int) -> "Dropout":
        """The same dropout for rows start .. stop alone."""
        return Dropout(self.rate, self.key, self.sample_rows[start:stop], self.sample_positions[start:stop])


def keep_factors(drop: Dropout, num_draws: int, first_draw: int = 0) -> torch.Tensor:
    """float32 [T, num_draws]: 0 where the draw is dropped, else 1 / (1 - rate)."""
    bits = random_bits(drop.key, drop.sample_positions, drop.sample_rows, num_draws, first_draw)
    kept = bits >= probability_threshold(drop.rate)
    return kept.to(torch.float32) * (1.0 / (1.0 - drop.rate))


def dropout(x_TD: torch.Tensor, drop: Dropout) -> torch.Tensor:
    """`x_TD` [T, D] with each element zeroed with probability `drop.rate` and the others scaled by 1 / (1 - rate)."""
    return x_TD * keep_factors(drop, x_TD.shape[-1]).to(x_TD.dtype)
