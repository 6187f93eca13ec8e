"""What a `model:` section may say, and what follows from it by arithmetic alone (no torch here).

`architecture` says what the layers are made of (architecture.py); the rest are sizes, and how rows know their places.
"""

from typing import Annotated, Self

from pydantic import Field, model_validator

from data_prep.section import Positive, Section
from pipeline.model.architecture import ARCHITECTURES, Architecture, ArchitectureName
from pipeline.model.position_config import (
    BipePositions,
    FirePositions,
    LearnedPositions,
    MPNetPositions,
    PositionConfig,
    T5Positions,
)

VOCAB_MULTIPLE = 64


class ModelConfig(Section):
    """The shape of one model: an encoder with a decoder, or without, as its architecture has it."""

    architecture: ArchitectureName = "t5"
    d_model: Positive
    d_kv: Positive = 64
    d_ff: Positive
    num_layers: Positive
    num_decoder_layers: Positive | None = None  # null: as many as the encoder's
    num_heads: Positive
    positions: PositionConfig = T5Positions()
    decoder_positions: PositionConfig | None = None  # null: as the encoder's
    randomized_positions: Positive | None = (
        None  # positions are drawn from so many (Ruoss et al. 2023); null: 0, 1, 2 ...
    )
    relative_attention_num_buckets: Annotated[int, Field(ge=4, multiple_of=2)] = 32
    relative_attention_max_distance: Positive = 128
    local_attention: Positive | None = None  # in all but every n-th layer a row sees so many rows around it
    global_attention_every: Positive = 3
    dropout_rate: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    layer_norm_epsilon: Annotated[float, Field(gt=0.0)] = 1e-6
    tie_word_embeddings: bool = True
    initializer_factor: Annotated[float, Field(gt=0.0)] = 1.0

    @model_validator(mode="after")
    def _buckets_fit_the_distance(self) -> Self:
        # The decoder's buckets are half exact, half logarithmic up to the maximum distance: the half must lie below it.
        if self.relative_attention_max_distance <= self.relative_attention_num_buckets // 2:
            raise ValueError(
                f"relative_attention_max_distance ({self.relative_attention_max_distance}) must be larger than half of "
                f"relative_attention_num_buckets ({self.relative_attention_num_buckets})"
            )
        return self

    @model_validator(mode="after")
    def _positions_can_work(self) -> Self:
        if self.positions.kind == "none":
            raise ValueError(
                "positions: none works only where a causal mask tells rows apart: to an encoder that sees both ways a "
                "text would be a bag of words; choose another kind (decoder_positions may be none)"
            )
        schemes = (self.positions, self.decoder_position_config)
        two_level = [scheme for scheme in schemes if isinstance(scheme, BipePositions)]
        turns = "rope" in (*(scheme.kind for scheme in schemes), *(scheme.between for scheme in two_level))
        if turns and self.d_kv % 2:
            raise ValueError(f"positions: rope turns pairs of columns, so d_kv ({self.d_kv}) must be even")
        if two_level and self.randomized_positions:
            raise ValueError(
                "randomized_positions draws one number for each row, and positions: bipe has two: leave one of them out"
            )
        tables = [scheme for scheme in schemes if isinstance(scheme, LearnedPositions | MPNetPositions)]
        if self.randomized_positions and tables and tables[0].max_positions < self.randomized_positions:
            raise ValueError(
                f"randomized_positions ({self.randomized_positions}) must not exceed positions.max_positions "
                f"({tables[0].max_positions})"
            )
        return self

    @model_validator(mode="after")
    def _has_what_its_architecture_has(self) -> Self:
        if not self.layers.has_decoder:
            for name in ("num_decoder_layers", "decoder_positions"):
                if getattr(self, name) is not None:
                    raise ValueError(f"{name} is given, but architecture {self.architecture} has no decoder")
        if self.layers.head != "tokens" and not self.tie_word_embeddings:
            raise ValueError(
                f"tie_word_embeddings: false: the head of architecture {self.architecture} has no matrix of its own"
            )
        if self.local_attention and self.layers.has_decoder:
            raise ValueError(
                f"local_attention is for encoders; architecture {self.architecture} has a decoder (modernbert has none)"
            )
        return self

    @property
    def layers(self) -> Architecture:
        """What the layers are made of."""
        return ARCHITECTURES[self.architecture]

    @property
    def decoder_position_config(self) -> PositionConfig:
        """The decoder's scheme."""
        return self.positions if self.decoder_positions is None else self.decoder_positions

    @property
    def decoder_layers(self) -> int:
        """The number of decoder layers."""
        if not self.layers.has_decoder:
            return 0
        return self.num_layers if self.num_decoder_layers is None else self.num_decoder_layers

    @property
    def stacks(self) -> tuple[int, ...]:
        """The layers of each stack: the encoder's, and the decoder's where there is one."""
        return (self.num_layers, self.decoder_layers) if self.layers.has_decoder else (self.num_layers,)

    def is_local(self, layer: int) -> bool:
        """Whether encoder layer number `layer` sees only the rows around a row."""
        return self.local_attention is not None and layer % self.global_attention_every != 0


def middle_layers(num_layers: int) -> int:
    """How many layers of a stack are neither its first nor its last."""
    return max(0, num_layers - 2)


def padded_vocab_size(vocab_size: int) -> int:
    """Rows of the embedding: the tokenizer's vocabulary rounded up to a multiple of 64, which matrix units want."""
    return -(-vocab_size // VOCAB_MULTIPLE) * VOCAB_MULTIPLE


def count_parameters(config: ModelConfig, vocab_size: int) -> int:
    """The number of trained numbers for a tokenizer of `vocab_size`; a tied head is counted once."""
    layers, width = config.layers, config.d_model
    inner, vocab = config.num_heads * config.d_kv, padded_vocab_size(vocab_size)
    norm = width * (2 if layers.biases else 1)
    attention = 4 * width * inner + norm + (3 * inner + width) * layers.biases
    matrices = 2 if layers.feed_forward == "gelu" else 3
    feed_forward = matrices * width * config.d_ff + norm + (config.d_ff + width) * layers.biases
    around = norm * (layers.norm_first + layers.embedding_norm)
    encoder = config.num_layers * (attention + feed_forward) + around - norm * layers.bare_first_norm
    encoder += _position_parameters(config.positions, config)
    total = encoder + (vocab + layers.token_types) * width
    if layers.has_decoder:
        total += config.decoder_layers * (2 * attention + feed_forward) + around
        total += _position_parameters(config.decoder_position_config, config)
    if layers.head == "masked":
        total += width * width + width * layers.biases + norm + vocab
    if layers.head == "detection":
        total += width * width + width + (width + 1) * layers.biases
    return total + (0 if config.tie_word_embeddings else vocab * width)


def _position_parameters(scheme: PositionConfig, config: ModelConfig) -> int:
    buckets = config.relative_attention_num_buckets * config.num_heads
    if isinstance(scheme, T5Positions):
        return buckets
    if isinstance(scheme, MPNetPositions):
        return buckets + scheme.max_positions * config.d_model
    if isinstance(scheme, BipePositions):
        return scheme.max_positions * config.d_model if scheme.within == "learned" else 0
    if isinstance(scheme, FirePositions):
        return scheme.width * (config.num_heads + 2) + 2
    return scheme.max_positions * config.d_model if isinstance(scheme, LearnedPositions) else 0
