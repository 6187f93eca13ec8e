"""The encoder: every row sees every row of its own sequence, or in local layers those around it."""

import torch

from pipeline.batch import Batch
from pipeline.kernels.attention import IntervalPattern
from pipeline.model.config import ModelConfig
from pipeline.model.transformer import Transformer


class Encoder(Transformer):
    """A bidirectional stack."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(
            config,
            config.num_layers,
            config.positions,
            bidirectional=True,
            has_cross_attention=False,
            drops_tokens=True,
        )

    def encode(self, x_TW: torch.Tensor, view: Batch, taps: list[torch.Tensor] | None = None) -> torch.Tensor:
        """The hidden states [T, W] of embedded rows `x_TW`; each block's output is appended to `taps`."""
        num_rows = len(x_TW)
        full = IntervalPattern.full(view.cu_seqlens, num_rows, view.cu_seqlens, num_rows)
        return self(x_TW, view, full, local_pattern=self._local(view, num_rows), taps=taps)

    def _local(self, view: Batch, num_rows: int) -> IntervalPattern | None:
        if self.config.local_attention is None:
            return None
        reach = self.config.local_attention // 2  # to each side, as in ModernBERT
        return IntervalPattern.window(view.cu_seqlens, num_rows, before=reach, after=reach)
