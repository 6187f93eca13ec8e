"""The norms of the architectures."""

import torch
from torch import nn

from pipeline.kernels.rows import rms_norm
from pipeline.model.config import ModelConfig


def build_norm(config: ModelConfig) -> nn.Module:
    """The norm of the model's architecture, over rows of `d_model` numbers."""
    return RMSNorm(config) if config.layers.norm == "rms" else LayerNorm(config)


class LayerNorm(nn.LayerNorm):
    """(x - mean(x)) / sqrt(var(x) + epsilon) * weight, plus a bias if the architecture has them (Ba et al. 2016)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config.d_model, eps=config.layer_norm_epsilon, bias=config.layers.biases)


class RMSNorm(nn.Module):
    """x / sqrt(mean(x**2) + epsilon) * weight, computed in float32 (Zhang and Sennrich 2019)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(config.d_model))
        self.epsilon = config.layer_norm_epsilon

    def forward(self, x_TW: torch.Tensor) -> torch.Tensor:
        """The normalised rows [T, W], in the input's dtype."""
        return rms_norm(x_TW, self.weight, self.epsilon)
