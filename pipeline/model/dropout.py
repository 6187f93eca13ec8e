"""Dropout as a module: a rate and its stream's key; the bits come from the rows' names (`pipeline.kernels.dropout`)."""

import torch

from pipeline.batch import Batch
from pipeline.kernels.dropout import Dropout, dropout
from pipeline.model.streams import Drawing


class RowDropout(Drawing):
    """Zeroes elements of rows while training; does nothing in evaluation or at rate 0."""

    stream = "dropout"

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def of(self, view: Batch) -> Dropout | None:
        """The dropout of the rows of `view`, for a kernel that applies it itself; None when there is none."""
        if not self.training or self.rate == 0.0:
            return None
        return Dropout(self.rate, self.key, view.sample_rows, view.sample_positions)

    def forward(self, x_TW: torch.Tensor, view: Batch) -> torch.Tensor:
        """`x_TW`, one row per row of `view`, with dropout applied."""
        drop = self.of(view)
        return x_TW if drop is None else dropout(x_TW, drop)
