"""What a position scheme may do: add to a stack's inputs, turn queries and keys, give self-attention a bias.

Cross-attention has no positions in any scheme, as in T5: the memory's rows carry their places in their values.
"""

from dataclasses import dataclass

import torch
from torch import nn

from pipeline.batch import Batch
from pipeline.kernels.attention import Bias, RelativeBias
from pipeline.kernels.attention.patterns import row_indices


@dataclass(frozen=True)
class Rotation:
    """The angles by which pairs (c, c + D / 2) of a head's columns are turned, as cosines and sines."""

    cosines_TC: torch.Tensor  # [T, D / 2] float32
    sines_TC: torch.Tensor  # [T, D / 2] float32

    def of_rows(self, rows_K: torch.Tensor) -> "Rotation":
        """The angles of these rows alone."""
        return Rotation(self.cosines_TC[rows_K], self.sines_TC[rows_K])

    def apply(self, x_THD: torch.Tensor) -> torch.Tensor:
        """`x_THD` [T, H, D], turned; computed in at least float32, returned in its own dtype."""
        wide = torch.promote_types(x_THD.dtype, torch.float32)
        first, second = x_THD.to(wide).chunk(2, dim=-1)
        cosines, sines = self.cosines_TC[:, None].to(wide), self.sines_TC[:, None].to(wide)
        turned = torch.cat([first * cosines - second * sines, second * cosines + first * sines], dim=-1)
        return turned.to(x_THD.dtype)


class Positions(nn.Module):
    """A scheme that does nothing (NoPE); the others override what they do."""

    def initial(self, name: str) -> tuple[float, float] | None:
        """Mean and standard deviation of the parameter `name` of this module before training; None: as T5's."""
        return None

    def inputs(self, x_TW: torch.Tensor, view: Batch) -> torch.Tensor:
        """The stack's inputs [T, W], with the places of the rows of `view` in them where the scheme puts them there."""
        return x_TW

    def rotation(self, view: Batch, local: bool = False) -> Rotation | None:
        """How self-attention's queries and keys are turned; in layers that see only what is near, if `local`."""
        return None

    def bias(self, view: Batch) -> Bias | None:
        """What is added to self-attention's scores."""
        return None


def are_contiguous(view: Batch) -> bool:
    """Whether every row's position is its index in its sequence."""
    indices = row_indices(view.cu_seqlens, len(view.positions))
    return bool(((indices == view.positions) | (indices < 0)).all())


def relative_bias(values_HR: torch.Tensor, view: Batch) -> RelativeBias:
    """The bias of self-attention among the rows of `view`, by the cheaper way where positions are contiguous."""
    if are_contiguous(view):
        return RelativeBias(values_HR)
    return RelativeBias(values_HR, view.positions, view.positions)
