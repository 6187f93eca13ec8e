"""The encoder: every row sees every row of its own sequence."""

import torch

from pipeline.batch import Batch
from pipeline.kernels.attention import IntervalPattern
from pipeline.model.config import ModelConfig
from pipeline.model.transformer import Transformer


class Encoder(Transformer):
    """A bidirectional stack."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config, config.num_layers, config.positions, bidirectional=True, has_cross_attention=False)

    def encode(self, x_TW: torch.Tensor, view: Batch) -> torch.Tensor:
        """The hidden states [T, W] of embedded rows `x_TW`."""
        num_rows = len(x_TW)
        return self(x_TW, view, IntervalPattern.full(view.cu_seqlens, num_rows, view.cu_seqlens, num_rows))
