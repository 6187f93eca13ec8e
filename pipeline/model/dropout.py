"""Dropout as a module: a rate and its stream's key; the bits come from the rows' names (`pipeline.kernels.dropout`)."""

import torch

from pipeline.batch import Batch
from pipeline.kernels.dropout import Dropout
from pipeline.kernels.rows import add_dropout
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

    def forward(self, x_TW: torch.Tensor, view: Batch, residual_TW: torch.Tensor | None = None) -> torch.Tensor:
        """`x_TW`, one row per row of `view`, with dropout applied; then `residual_TW` is added where it is given."""
        drop = self.of(view)
        if drop is None:
            return x_TW if residual_TW is None else residual_TW + x_TW
        return add_dropout(x_TW, drop, residual_TW)
