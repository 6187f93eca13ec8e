"""A stack of blocks on a flat batch: the one vocabulary of encoders, decoders, and decoders by way of which one trains.

Stages: positions (drawn, if asked; added to embeddings, if the scheme adds), a norm and dropout of the embeddings, the
blocks (all with one bias; local ones with their own pattern and rotation), a last norm where norms come first, dropout.
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
from pipeline.model.norm import build_norm
from pipeline.model.position_config import PositionConfig
from pipeline.model.positions import build_positions
from pipeline.model.positions.randomized import RandomizedPositions
from pipeline.model.token_dropping import TokenDropping, view_of_rows


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
        self.blocks = nn.ModuleList(
            Block(config, has_cross_attention, bare=bare and number == 0) for number in range(num_layers)
        )
        self.dropping = TokenDropping(num_layers) if drops_tokens else None
        self.norm = build_norm(config) if config.layers.norm_first else nn.Identity()
        self.dropout_outputs = RowDropout(config.dropout_rate if config.layers.output_dropout else 0.0)
        self.activation_checkpointing = False

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
        for number, (block, rows_K) in enumerate(zip(self.blocks, kept, strict=True)):
            seen = local if local and self.config.is_local(number) else sight
            if rows_K is None:
                x_TW = self._run(block, x_TW, view, seen, memory_SW, memory_sight, source_TW)
            else:
                x_TW = self._run_on(rows_K, block, x_TW, view, seen, memory_SW, memory_sight)
            if taps is not None:
                taps.append(x_TW)
        return self.dropout_outputs(self.norm(x_TW), view)

    def inputs(self, x_TW: torch.Tensor, view: Batch) -> torch.Tensor:
        """What the first block reads [T, W] of the embedded rows: their places in them, normalised, dropped."""
        return self.dropout_inputs(self.embedding_norm(self.positions.inputs(x_TW, view)), view)

    def _run_on(
        self,
        rows_K: torch.Tensor,
        block: nn.Module,
        x_TW: torch.Tensor,
        view: Batch,
        sight: Sight,
        memory_SW: torch.Tensor | None,
        memory_sight: Sight | None,
    ) -> torch.Tensor:
        """The block over these rows alone; the others stay as they are."""
        part = view_of_rows(view, rows_K)
        seen = sight.of_rows(rows_K, view, part.cu_seqlens)
        memory_seen = memory_sight and memory_sight.of_queries(rows_K)
        done_KW = self._run(block, x_TW.index_select(0, rows_K), part, seen, memory_SW, memory_seen)
        return x_TW.index_copy(0, rows_K, done_KW)

    def _run(self, block: nn.Module, *arguments: object) -> torch.Tensor:
        if self.activation_checkpointing and torch.is_grad_enabled():
            # Dropout has no state, so there is no generator to put back for the second forward.
            return checkpoint(block, *arguments, use_reentrant=False, preserve_rng_state=False)
        return block(*arguments)


def set_activation_checkpointing(model: nn.Module, enabled: bool) -> None:
    """Keep only each block's input for backward, in every stack of `model`, and run its forward again there."""
    for module in model.modules():
        if isinstance(module, Transformer):
            module.activation_checkpointing = enabled
