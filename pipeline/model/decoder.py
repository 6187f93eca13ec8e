"""The decoder: a row sees the rows before it in its sequence, and all of the same document piece's encoder sequence."""

import torch

from pipeline.batch import Batch
from pipeline.kernels.attention import IntervalPattern
from pipeline.model.attention import Sight
from pipeline.model.config import ModelConfig
from pipeline.model.transformer import Transformer


class Decoder(Transformer):
    """A causal stack that reads an encoder's output."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(
            config,
            config.decoder_layers,
            config.decoder_position_config,
            bidirectional=False,
            has_cross_attention=True,
            drops_tokens=True,
        )

    def decode(self, x_TW: torch.Tensor, view: Batch, memory_SW: torch.Tensor, memory_view: Batch) -> torch.Tensor:
        """The hidden states [T, W] of embedded rows `x_TW`; sequence n reads sequence n of `memory_SW` [S, W]."""
        causal = IntervalPattern.causal(view.cu_seqlens, len(x_TW))
        full = IntervalPattern.full(view.cu_seqlens, len(x_TW), memory_view.cu_seqlens, len(memory_SW))
        return self(x_TW, view, causal, memory_SW, Sight(memory_view.cu_seqlens, full))
