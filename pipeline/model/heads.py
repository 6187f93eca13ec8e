"""What turns hidden states into predictions."""

import torch
from torch import nn

from pipeline.kernels.cross_entropy import linear_cross_entropy_sum
from pipeline.model.config import ModelConfig


class TokenHead(nn.Module):
    """Logits over the vocabulary.

    Tied, its weight is the embedding's own parameter and states are scaled by d_model ** -0.5 first (the embedding is
    drawn with variance 1); untied, it is a matrix of its own and states are not scaled. Both as in T5.
    """

    def __init__(self, config: ModelConfig, vocab_size: int, tied_to: torch.Tensor | None) -> None:
        super().__init__()
        own = nn.Parameter(torch.empty(vocab_size, config.d_model)) if tied_to is None else tied_to
        self.weight: torch.Tensor = own
        self.scale = 1.0 if tied_to is None else config.d_model**-0.5

    def forward(
        self,
        x_TW: torch.Tensor,
        labels_T: torch.Tensor | None = None,
        z_loss: float = 0.0,
        label_smoothing: float = 0.0,
    ) -> torch.Tensor:
        """Logits [T, V] of states [T, W]; with labels [T], the sum of their cross entropy instead."""
        if labels_T is None:
            return nn.functional.linear(x_TW * self.scale, self.weight)
        return linear_cross_entropy_sum(x_TW * self.scale, self.weight, labels_T, z_loss, label_smoothing)
