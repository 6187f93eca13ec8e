"""Positions as vectors added to a stack's inputs: learned (Devlin et al. 2018) or sinusoidal (Vaswani et al. 2017)."""

import torch
from torch import nn

from data_prep.errors import InputError
from pipeline.batch import Batch
from pipeline.model.positions.scheme import Positions


class Learned(Positions):
    """A table of `max_positions` vectors."""

    def __init__(self, max_positions: int, width: int) -> None:
        super().__init__()
        self.table = nn.Embedding(max_positions, width)

    def inputs(self, x_TW: torch.Tensor, view: Batch) -> torch.Tensor:
        """InputError for a position that the table does not have."""
        if (longest := int(view.positions.max())) >= self.table.num_embeddings:
            raise InputError(
                f"model.positions.max_positions is {self.table.num_embeddings}, and a sequence has position {longest}: "
                "give it at least the window's length"
            )
        return x_TW + self.table(view.positions)


class Sinusoidal(Positions):
    """Even columns are sines, odd ones cosines of position / 10000 ** (2 c / W)."""

    def inputs(self, x_TW: torch.Tensor, view: Batch) -> torch.Tensor:
        """The inputs plus the rows' vectors, which are computed in float64."""
        width = x_TW.shape[1]
        columns = torch.arange(0, width, 2, device=x_TW.device, dtype=torch.float64)
        angles_TC = view.positions[:, None].to(torch.float64) * 10_000.0 ** (-columns / width)
        vectors = torch.stack([angles_TC.sin(), angles_TC.cos()], dim=-1).flatten(1)[:, :width]
        return x_TW + vectors.to(x_TW.dtype)
