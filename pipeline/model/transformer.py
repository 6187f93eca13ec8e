"""A stack of blocks on a flat batch: the one vocabulary of encoders, decoders, and decoders by way of which one trains.

Stages: positions (drawn, if asked; added to embeddings, if the scheme adds), a norm and dropout of the embeddings, the
blocks (all with one bias; local ones with their own pattern and rotation), a last norm where norms come first, dropout.
"""

import torch
from torch import nn

from pipeline.batch import Batch
from pipeline.kernels.attention import IntervalPattern
from pipeline.model.attention import Sight
from pipeline.model.blocks import Block, GatedFeedForward
from pipeline.model.config import ModelConfig
from pipeline.model.dropout import RowDropout
from pipeline.model.layers import Layers
from pipeline.model.norm import build_norm
from pipeline.model.position_config import PositionConfig
from pipeline.model.positions import build_positions
from pipeline.model.positions.randomized import RandomizedPositions
from pipeline.model.replay import Replayed
from pipeline.model.token_dropping import TokenDropping


class Transformer(nn.Module):
    """`num_layers` blocks; `scheme` says how rows know their places, `bidirectional` whether they look ahead.

    A stack that continues another one's hidden states says `reads_embeddings=False`: nothing is added to its inputs,
    and they are neither normalised nor dropped. One that `drops_tokens` does so when it is asked to
    (pipeline/model/token_dropping.py).
    """

    def __init__(
        self,
        config: ModelConfig,
        num_layers: int,
        scheme: PositionConfig,
        bidirectional: bool,
        has_cross_attention: bool,
        reads_embeddings: bool = True,
        drops_tokens: bool = False,
    ) -> None:
        super().__init__()
        self.config = config
        self.reads_embeddings = reads_embeddings
        self.randomized_positions = RandomizedPositions(config.randomized_positions)
        self.positions = build_positions(scheme, config, bidirectional)
        if reads_embeddings:
            self.embedding_norm = build_norm(config) if config.layers.embedding_norm else nn.Identity()
            self.dropout_inputs = RowDropout(config.dropout_rate)
        bare = reads_embeddings and config.layers.bare_first_norm
        self.blocks = Layers(
            Block(config, has_cross_attention, bare=bare and number == 0) for number in range(num_layers)
        )
        self.replayed: Replayed | None = None
        self.dropping = TokenDropping(num_layers) if drops_tokens else None
        self.norm = build_norm(config) if config.layers.norm_first else nn.Identity()
        self.dropout_outputs = RowDropout(config.dropout_rate if config.layers.output_dropout else 0.0)

    def forward(
        self,
        x_TW: torch.Tensor,
        view: Batch,
        pattern: IntervalPattern,
        memory_SW: torch.Tensor | None = None,
        memory_sight: Sight | None = None,
        local_pattern: IntervalPattern | None = None,
        taps: list[torch.Tensor] | None = None,
        source_TW: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """The last hidden states [T, W] of the rows of `view`, whose inputs are `x_TW` [T, W].

        `local_pattern` is what local layers see. Each block's output is appended to `taps`. With `source_TW` [T, W]
        self-attention takes keys and values from there, not from the rows' own states.
        """
        view = self.randomized_positions(view)
        bias = self.positions.bias(view)
        sight = Sight(view.cu_seqlens, pattern, bias, self.positions.rotation(view))
        local = local_pattern and Sight(view.cu_seqlens, local_pattern, bias, self.positions.rotation(view, local=True))
        if self.reads_embeddings:
            x_TW = self.inputs(x_TW, view)
        kept = self.dropping.kept(view) if self.dropping else [None] * len(self.blocks)
        sights = [local if local and self.config.is_local(number) else sight for number in range(len(self.blocks))]
        drops = any(rows_K is not None for rows_K in kept)  # how many rows, changes too often to be recorded
        run = self.blocks if drops or self.replayed is None else self.replayed
        states = run(x_TW, view, sights, kept, memory_SW, memory_sight, source_TW, taps is not None)
        if taps is not None:
            taps.extend(states)
        return self.dropout_outputs(self.norm(states[-1]), view)

    def inputs(self, x_TW: torch.Tensor, view: Batch) -> torch.Tensor:
        """What the first block reads [T, W] of the embedded rows: their places in them, normalised, dropped."""
        return self.dropout_inputs(self.embedding_norm(self.positions.inputs(x_TW, view)), view)


def set_activation_checkpointing(model: nn.Module, enabled: bool) -> None:
    """Keep only each block's input for backward, in every stack of `model`, and run its forward again there."""
    for module in model.modules():
        if isinstance(module, Layers):
            module.activation_checkpointing = enabled
        elif isinstance(module, GatedFeedForward):
            module.keeps_all = enabled


def set_cuda_graphs(model: nn.Module, enabled: bool) -> None:
    """Record the kernels of every stack of `model` in training on a GPU, and replay them (pipeline/model/replay.py)."""
    for module in model.modules():
        if isinstance(module, Transformer):
            module.replayed = Replayed(module.blocks) if enabled else None
