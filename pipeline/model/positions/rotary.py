"""RoPE (Su et al. 2021) and p-RoPE (Barbero et al. 2024): pairs of columns turn at geometric frequencies.

Pair c of D / 2 turns by position * base ** (-2 c / D). With `fraction` below 1 only that share of the pairs, the
fastest, turns; the slow ones, which carry meaning rather than places, keep still.
"""

import torch

from pipeline.batch import Batch
from pipeline.model.position_config import RotaryPositions
from pipeline.model.positions.scheme import Positions, Rotation


class Rotary(Positions):
    """Turns the queries and keys of heads with `head_dim` columns."""

    def __init__(self, config: RotaryPositions, head_dim: int) -> None:
        super().__init__()
        self.config, self.head_dim = config, head_dim

    def rotation(self, view: Batch, local: bool = False) -> Rotation:
        """Cosines and sines of the rows' angles; float64 until then, for positions of many digits."""
        base = self.config.local_base if local and self.config.local_base else self.config.base
        pairs = torch.arange(self.head_dim // 2, device=view.positions.device, dtype=torch.float64)
        frequencies_C = base ** (-2 * pairs / self.head_dim)
        frequencies_C[round(self.config.fraction * len(pairs)) :] = 0.0
        angles_TC = view.positions[:, None].to(torch.float64) * frequencies_C
        return Rotation(angles_TC.cos().float(), angles_TC.sin().float())
