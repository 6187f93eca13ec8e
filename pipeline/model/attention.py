"""Multi-head attention: four projections around the attention kernel.

Shape suffixes: Tq, Tk rows, W model width, H heads, D head dimension.
"""

from dataclasses import dataclass, replace

import torch
from torch import nn

from pipeline.batch import Batch
from pipeline.kernels.attention import Bias, IntervalPattern, attention
from pipeline.kernels.attention.patterns import row_indices
from pipeline.model.config import ModelConfig
from pipeline.model.dropout import RowDropout
from pipeline.model.positions.scheme import Rotation


@dataclass(frozen=True)
class Sight:
    """Whom a stack's rows see in one kind of attention, and how places enter: as a bias, or by turning q and k."""

    cu_seqlens_k: torch.Tensor  # [N + 1]
    pattern: IntervalPattern
    bias: Bias | None = None
    rotation: Rotation | None = None

    def of_queries(self, rows_K: torch.Tensor) -> "Sight":
        """Of another stack's rows, for these rows alone."""
        return replace(self, pattern=self.pattern.of_rows(rows_K))

    def of_rows(self, rows_K: torch.Tensor, view: Batch, cu_seqlens: torch.Tensor) -> "Sight":
        """Of one another, for these rows of `view` alone, whose boundaries are `cu_seqlens`."""
        indices_T = row_indices(view.cu_seqlens, len(view.tokens))
        return Sight(
            cu_seqlens,
            self.pattern.of_rows(rows_K, rows_K),
            self.bias and self.bias.of_rows(rows_K, indices_T),
            self.rotation and self.rotation.of_rows(rows_K),
        )


class Attention(nn.Module):
    """Self-attention when `source` is the rows themselves, cross-attention when it is another stack's output."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        inner, biases = config.num_heads * config.d_kv, config.layers.biases
        self.num_heads = config.num_heads
        self.scale = config.d_kv**-0.5 if config.layers.scaled_scores else 1.0
        self.query = nn.Linear(config.d_model, inner, bias=biases)
        self.key = nn.Linear(config.d_model, inner, bias=biases)
        self.value = nn.Linear(config.d_model, inner, bias=biases)
        self.output = nn.Linear(inner, config.d_model, bias=biases)
        self.dropout = RowDropout(config.dropout_rate)

    def forward(self, x_TW: torch.Tensor, source_SW: torch.Tensor, view: Batch, sight: Sight) -> torch.Tensor:
        """What each row of `view` [Tq, W] gathers from the rows of `source_SW` [Tk, W] it sees; returns [Tq, W]."""
        q_THD, k_THD = self._heads(self.query(x_TW)), self._heads(self.key(source_SW))
        if sight.rotation is not None:
            q_THD, k_THD = sight.rotation.apply(q_THD), sight.rotation.apply(k_THD)
        gathered_THD = attention(
            q_THD,
            k_THD,
            self._heads(self.value(source_SW)),
            view.cu_seqlens,
            sight.cu_seqlens_k,
            sight.pattern,
            sight.bias,
            scale=self.scale,
            dropout=self.dropout.of(view),
        )
        return self.output(gathered_THD.flatten(1))

    def _heads(self, x_TI: torch.Tensor) -> torch.Tensor:
        return x_TI.unflatten(-1, (self.num_heads, -1))
