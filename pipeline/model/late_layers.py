"""Layers that go on where an encoder stopped, or had stopped early: beside the model, for training only."""

import torch

from pipeline.batch import Batch
from pipeline.kernels.attention import IntervalPattern
from pipeline.model.config import ModelConfig
from pipeline.model.position_config import relative_part
from pipeline.model.transformer import Transformer


class LateLayers(Transformer):
    """`num_layers` of the model's layers on rows that have their places in them already."""

    def __init__(self, config: ModelConfig, num_layers: int) -> None:
        scheme = relative_part(config.positions)
        super().__init__(
            config, num_layers, scheme, bidirectional=True, has_cross_attention=False, reads_embeddings=False
        )

    def see_all(self, x_TW: torch.Tensor, view: Batch) -> torch.Tensor:
        """The hidden states [T, W] of rows that see their whole sequence."""
        return self(x_TW, view, IntervalPattern.full(view.cu_seqlens, len(x_TW), view.cu_seqlens, len(x_TW)))
