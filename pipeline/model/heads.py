"""What turns hidden states into predictions."""

import torch
from torch import nn

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

    def forward(self, x_TW: torch.Tensor) -> torch.Tensor:
        """Logits [T, V] of states [T, W]."""
        return nn.functional.linear(x_TW * self.scale, self.weight)
