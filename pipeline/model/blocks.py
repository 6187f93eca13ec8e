"""The parts of a T5 v1.1 layer: gated feed-forward, and the pre-norm block that joins it with attention."""

import torch
from torch import nn

from pipeline.batch import Batch
from pipeline.model.attention import Attention, Sight
from pipeline.model.config import ModelConfig
from pipeline.model.dropout import RowDropout
from pipeline.model.norm import RMSNorm


class GatedFeedForward(nn.Module):
    """down(gelu(gate(x)) * up(x)) with GELU's tanh form (Shazeer 2020, "GLU variants improve Transformer")."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.gate = nn.Linear(config.d_model, config.d_ff, bias=False)
        self.up = nn.Linear(config.d_model, config.d_ff, bias=False)
        self.down = nn.Linear(config.d_ff, config.d_model, bias=False)
        self.dropout = RowDropout(config.dropout_rate)

    def forward(self, x_TW: torch.Tensor, view: Batch) -> torch.Tensor:
        """Each row on its own; [T, W] to [T, W]."""
        gated = nn.functional.gelu(self.gate(x_TW), approximate="tanh") * self.up(x_TW)
        return self.down(self.dropout(gated, view))


class Block(nn.Module):
    """Self-attention, cross-attention if the stack reads another, feed-forward; each normalised first, added after."""

    def __init__(self, config: ModelConfig, has_cross_attention: bool) -> None:
        super().__init__()
        self.self_norm, self.self_attention = RMSNorm(config), Attention(config)
        self.has_cross_attention = has_cross_attention
        if has_cross_attention:
            self.cross_norm, self.cross_attention = RMSNorm(config), Attention(config)
            self.dropout_cross = RowDropout(config.dropout_rate)
        self.feed_forward_norm, self.feed_forward = RMSNorm(config), GatedFeedForward(config)
        self.dropout_self = RowDropout(config.dropout_rate)
        self.dropout_feed_forward = RowDropout(config.dropout_rate)

    def forward(
        self,
        x_TW: torch.Tensor,
        view: Batch,
        sight: Sight,
        memory_SW: torch.Tensor | None = None,
        memory_sight: Sight | None = None,
    ) -> torch.Tensor:
        """One layer over the rows of `view`; `memory_SW` is the other stack's output when there is one."""
        normed = self.self_norm(x_TW)
        x_TW = x_TW + self.dropout_self(self.self_attention(normed, normed, view, sight), view)
        if self.has_cross_attention:
            assert memory_SW is not None, "this stack reads another stack's output"
            assert memory_sight is not None, "and must know which of its rows it sees"
            gathered = self.cross_attention(self.cross_norm(x_TW), memory_SW, view, memory_sight)
            x_TW = x_TW + self.dropout_cross(gathered, view)
        return x_TW + self.dropout_feed_forward(self.feed_forward(self.feed_forward_norm(x_TW), view), view)
