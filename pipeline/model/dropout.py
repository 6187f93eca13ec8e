"""Dropout as a module: a rate and its stream's key; the bits come from the rows' names (`pipeline.kernels.dropout`)."""

import torch
from torch import nn

from pipeline.batch import Batch
from pipeline.corruption.philox import Key, stream_key
from pipeline.kernels.dropout import Dropout, dropout


class RowDropout(nn.Module):
    """Zeroes elements of rows while training; does nothing in evaluation or at rate 0."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate
        self.key: Key | None = None

    def of(self, view: Batch) -> Dropout | None:
        """The dropout of the rows of `view`, for a kernel that applies it itself; None when there is none."""
        if not self.training or self.rate == 0.0:
            return None
        assert self.key is not None, "key_dropout names every dropout's stream before training"
        return Dropout(self.rate, self.key, view.sample_rows, view.sample_positions)

    def forward(self, x_TW: torch.Tensor, view: Batch) -> torch.Tensor:
        """`x_TW`, one row per row of `view`, with dropout applied."""
        drop = self.of(view)
        return x_TW if drop is None else dropout(x_TW, drop)


def key_dropout(model: nn.Module, seed: int) -> None:
    """Give every dropout in `model` the key of the stream "dropout/MODULE PATH" of the run with `seed`."""
    for path, module in model.named_modules():
        if isinstance(module, RowDropout):
            module.key = stream_key(seed, f"dropout/{path}")
