"""ALiBi (Press et al. 2021): -slope * distance is added to every score; nothing is learned.

Slopes are 2 ** (-8 h / H) for heads h = 1 .. H, and for H that is no power of two, as in the paper's code, those of the
power below and every second one of the power above. In an encoder distance counts both ways.
"""

import torch

from pipeline.batch import Batch
from pipeline.kernels.attention import RelativeBias
from pipeline.model.positions.scheme import Positions, relative_bias


class Alibi(Positions):
    """The bias of `num_heads` heads for positions up to `reach` apart, or as many as a view has rows."""

    def __init__(self, num_heads: int, reach: int) -> None:
        super().__init__()
        self.slopes, self.reach = slopes(num_heads), reach

    def bias(self, view: Batch) -> RelativeBias:
        """-slope * |distance|, [H, 2 * reach + 1]."""
        reach = max(self.reach, len(view.positions), int(view.positions.max()))
        distances_R = torch.arange(-reach, reach + 1, device=view.positions.device).abs().float()
        slopes_H1 = torch.tensor(self.slopes, device=view.positions.device)[:, None]
        return relative_bias(-slopes_H1 * distances_R, view)


def slopes(num_heads: int) -> list[float]:
    """One slope per head."""
    power = 1 << (num_heads.bit_length() - 1)
    own = [2.0 ** (-8 * head / power) for head in range(1, power + 1)]
    return own if power == num_heads else own + slopes(2 * power)[::2][: num_heads - power]
