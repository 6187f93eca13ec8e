"""ELECTRA's generator: a small masked language model beside the encoder, whose samples stand where the masks were.

1. the encoder's own embedding of the masked text, places in it      (shared; Clark et al. 2020, section 3.2)
2. `project` to the generator's width, its blocks, and a head back to the embedding's matrix
3. `Sampler`: one token for each label, drawn from the generator's distribution

Shape suffixes: T rows, L rows with a label, W the encoder's width, G the generator's, V vocabulary.
"""

import torch
from torch import nn

from pipeline.batch import Batch
from pipeline.kernels.attention import IntervalPattern
from pipeline.kernels.cross_entropy import linear_cross_entropy_sum
from pipeline.kernels.philox import random_bits
from pipeline.model.config import ModelConfig
from pipeline.model.norm import build_norm
from pipeline.model.position_config import LearnedPositions, NoPositions
from pipeline.model.pretrained import EncoderModel
from pipeline.model.streams import Drawing
from pipeline.model.transformer import Transformer

_CERTAIN = 1 << 30  # what probability 1 weighs; a token below 2**-30 is never drawn
_ROWS_AT_ONCE = 128


def generator_config(config: ModelConfig, size: float) -> ModelConfig:
    """The encoder's config at `size` of its width: as many whole heads as that gives, at least one."""
    heads = max(1, round(config.num_heads * size))
    return config.model_copy(
        update={"num_heads": heads, "d_model": heads * config.d_kv, "d_ff": max(1, round(config.d_ff * size))}
    )


class Generator(nn.Module):
    """Projection, blocks and head; `tie` gives the head the embedding's matrix once the parts were initialised."""

    def __init__(self, config: ModelConfig, size: float, vocab_size: int) -> None:
        super().__init__()
        self.config = generator_config(config, size)
        scheme = config.positions
        self.project = nn.Linear(config.d_model, self.config.d_model)
        self.stack = Transformer(
            self.config,
            self.config.num_layers,
            NoPositions() if isinstance(scheme, LearnedPositions) else scheme,  # the encoder's table is shared
            bidirectional=True,
            has_cross_attention=False,
            reads_embeddings=False,
        )
        self.head = GeneratorHead(self.config, config, vocab_size)

    def forward(self, model: EncoderModel, view: Batch) -> torch.Tensor:
        """The generator's states [T, G] of the masked rows."""
        places = model.encoder.randomized_positions(view)
        inputs_TG = self.project(model.encoder.inputs(model.embed(view), places))
        full = IntervalPattern.full(view.cu_seqlens, len(inputs_TG), view.cu_seqlens, len(inputs_TG))
        return self.stack(inputs_TG, view, full)


class GeneratorHead(nn.Module):
    """BERT's head from the generator's width to the embedding's matrix, and each token's bias."""

    weight: torch.Tensor

    def __init__(self, config: ModelConfig, embedding_config: ModelConfig, vocab_size: int) -> None:
        super().__init__()
        self.dense = nn.Linear(config.d_model, embedding_config.d_model)
        self.norm = build_norm(embedding_config)
        self.bias = nn.Parameter(torch.zeros(vocab_size))

    def tie(self, embedding_VW: torch.Tensor) -> None:
        """Share the embedding's matrix."""
        self.weight = embedding_VW

    def forward(self, x_LG: torch.Tensor, labels_L: torch.Tensor | None = None) -> torch.Tensor:
        """Logits [L, V] of states [L, G]; with labels [L], the sum of their cross entropy instead."""
        x_LW = self.norm(nn.functional.gelu(self.dense(x_LG)))
        if labels_L is None:
            return nn.functional.linear(x_LW, self.weight, self.bias)
        return linear_cross_entropy_sum(x_LW, self.weight, labels_L, 0.0, 0.0, self.bias)


class Sampler(Drawing):
    """Draws one token per row from logits, by one Philox word and integer sums: no order of addition changes a draw."""

    stream = "generator"

    @torch.no_grad()
    def forward(self, logits_LV: torch.Tensor, view: Batch, rows_L: torch.Tensor) -> torch.Tensor:
        """Token ids [L], each with the probability its logits give it; `rows_L` are the rows of `view` drawn for."""
        bits_L1 = random_bits(self.key, view.sample_positions[rows_L], view.sample_rows[rows_L], 1)
        chunks = zip(logits_LV.split(_ROWS_AT_ONCE), bits_L1.split(_ROWS_AT_ONCE), strict=True)
        return torch.cat([_draw(logits, bits) for logits, bits in chunks]).to(view.tokens.dtype)


def _draw(logits_LV: torch.Tensor, bits_L1: torch.Tensor) -> torch.Tensor:
    weights_LV = (logits_LV.to(torch.float32).softmax(-1) * _CERTAIN).to(torch.int64)
    sums_LV = weights_LV.cumsum(-1)
    drawn_L1 = (bits_L1 * sums_LV[:, -1:]) >> 32
    return torch.searchsorted(sums_LV, drawn_L1, right=True).squeeze(-1)
