"""The parts of a layer: feed-forward, and the block that joins it with attention, normalised before or after."""

from collections.abc import Callable

import torch
from torch import nn

from pipeline.batch import Batch
from pipeline.kernels.rows import gated_gelu
from pipeline.model.attention import Attention, Sight
from pipeline.model.config import ModelConfig
from pipeline.model.dropout import RowDropout
from pipeline.model.made_again import made_again
from pipeline.model.norm import build_norm


class GatedFeedForward(nn.Module):
    """down(gelu(gate(x)) * up(x)) (Shazeer 2020, "GLU variants improve Transformer"); T5 takes GELU's tanh form."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        biases = config.layers.biases
        self.is_tanh = config.layers.feed_forward == "gated-gelu-tanh"
        self.gate = nn.Linear(config.d_model, config.d_ff, bias=biases)
        self.up = nn.Linear(config.d_model, config.d_ff, bias=biases)
        self.down = nn.Linear(config.d_ff, config.d_model, bias=biases)
        self.dropout = RowDropout(config.dropout_rate)
        self.keeps_all = False
        """For backward, without making anything again: what makes the whole block again has its own ways."""

    def forward(self, x_TW: torch.Tensor, view: Batch) -> torch.Tensor:
        """Each row on its own; [T, W] to [T, W]."""
        gate_TF, up_TF = self.gate(x_TW), self.up(x_TW)

        def gated() -> torch.Tensor:
            gated_TF = gated_gelu(gate_TF, up_TF) if self.is_tanh else nn.functional.gelu(gate_TF) * up_TF
            return self.dropout(gated_TF, view)

        gated_TF = gated()
        if x_TW.is_cuda or self.keeps_all or not gated_TF.requires_grad:  # on a GPU it was not measured
            return self.down(gated_TF)
        with made_again(gated_TF, gated):
            return self.down(gated_TF)


class FeedForward(nn.Module):
    """down(gelu(up(x))), as in BERT and BART."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.up = nn.Linear(config.d_model, config.d_ff, bias=config.layers.biases)
        self.down = nn.Linear(config.d_ff, config.d_model, bias=config.layers.biases)

    def forward(self, x_TW: torch.Tensor, view: Batch) -> torch.Tensor:
        """Each row on its own; [T, W] to [T, W]."""
        return self.down(nn.functional.gelu(self.up(x_TW)))


class Block(nn.Module):
    """Self-attention, cross-attention if the stack reads another, feed-forward: each added to what it read.

    Normalised before each (T5, ModernBERT), or after each sum (BERT, BART, MPNet). With `bare` the first part reads its
    input as it is.
    """

    def __init__(self, config: ModelConfig, has_cross_attention: bool, bare: bool = False) -> None:
        super().__init__()
        self.norm_first = config.layers.norm_first
        self.self_norm = nn.Identity() if bare else build_norm(config)
        self.self_attention = Attention(config)
        self.has_cross_attention = has_cross_attention
        if has_cross_attention:
            self.cross_norm, self.cross_attention = build_norm(config), Attention(config)
            self.dropout_cross = RowDropout(config.dropout_rate)
        self.feed_forward_norm = build_norm(config)
        gated = config.layers.feed_forward != "gelu"
        self.feed_forward = GatedFeedForward(config) if gated else FeedForward(config)
        self.dropout_self = RowDropout(config.dropout_rate)
        self.dropout_feed_forward = RowDropout(config.dropout_rate)

    def forward(
        self,
        x_TW: torch.Tensor,
        view: Batch,
        sight: Sight,
        memory_SW: torch.Tensor | None = None,
        memory_sight: Sight | None = None,
        source_TW: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """One layer over the rows of `view`; `memory_SW` is the other stack's output when there is one.

        Self-attention takes keys and values from `source_TW` where it is given.
        """
        if source_TW is not None and self.norm_first:
            source_TW = self.self_norm(source_TW)

        def join(
            x: torch.Tensor, norm: nn.Module, part: Callable[..., torch.Tensor], dropout: RowDropout
        ) -> torch.Tensor:
            return dropout(part(norm(x)), view, x) if self.norm_first else norm(dropout(part(x), view, x))

        x_TW = join(
            x_TW,
            self.self_norm,
            lambda x: self.self_attention(x, x if source_TW is None else source_TW, view, sight),
            self.dropout_self,
        )
        if self.has_cross_attention:
            assert memory_SW is not None, "this stack reads another stack's output"
            assert memory_sight is not None, "and must know which of its rows it sees"
            x_TW = join(
                x_TW,
                self.cross_norm,
                lambda x: self.cross_attention(x, memory_SW, view, memory_sight),
                self.dropout_cross,
            )
        return join(x_TW, self.feed_forward_norm, lambda x: self.feed_forward(x, view), self.dropout_feed_forward)
