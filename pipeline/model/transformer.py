"""A stack of blocks on a flat batch: the one vocabulary of encoders, decoders and decoder-only stacks.

Stages: positions (drawn, if asked), dropout of the inputs, the blocks (all with one bias and rotation), a last norm,
dropout.
"""

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from pipeline.batch import Batch
from pipeline.kernels.attention import IntervalPattern
from pipeline.model.attention import Sight
from pipeline.model.blocks import Block
from pipeline.model.config import ModelConfig
from pipeline.model.dropout import RowDropout
from pipeline.model.norm import RMSNorm
from pipeline.model.position_config import PositionConfig
from pipeline.model.positions import build_positions
from pipeline.model.positions.randomized import RandomizedPositions


class Transformer(nn.Module):
    """`num_layers` blocks; `scheme` says how rows know their places, `bidirectional` whether they look ahead."""

    def __init__(
        self,
        config: ModelConfig,
        num_layers: int,
        scheme: PositionConfig,
        bidirectional: bool,
        has_cross_attention: bool,
    ) -> None:
        super().__init__()
        self.randomized_positions = RandomizedPositions(config.randomized_positions)
        self.positions = build_positions(scheme, config, bidirectional)
        self.blocks = nn.ModuleList(Block(config, has_cross_attention) for _ in range(num_layers))
        self.norm = RMSNorm(config)
        self.dropout_inputs = RowDropout(config.dropout_rate)
        self.dropout_outputs = RowDropout(config.dropout_rate)
        self.activation_checkpointing = False

    def forward(
        self,
        x_TW: torch.Tensor,
        view: Batch,
        pattern: IntervalPattern,
        memory_SW: torch.Tensor | None = None,
        memory_sight: Sight | None = None,
    ) -> torch.Tensor:
        """The last hidden states [T, W] of the rows of `view`, whose inputs are `x_TW` [T, W]."""
        view = self.randomized_positions(view)
        sight = Sight(view.cu_seqlens, pattern, self.positions.bias(view), self.positions.rotation(view))
        x_TW = self.dropout_inputs(self.positions.inputs(x_TW, view), view)
        for block in self.blocks:
            x_TW = self._run(block, x_TW, view, sight, memory_SW, memory_sight)
        return self.dropout_outputs(self.norm(x_TW), view)

    def _run(self, block: nn.Module, *arguments: object) -> torch.Tensor:
        if self.activation_checkpointing and torch.is_grad_enabled():
            # Dropout has no state, so there is no generator to put back for the second forward.
            return checkpoint(block, *arguments, use_reentrant=False, preserve_rng_state=False)
        return block(*arguments)
