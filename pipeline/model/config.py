"""What a `model:` section may say, and what follows from it by arithmetic alone (no torch here).

The sizes are T5 v1.1's (Raffel et al. 2020, section 3.7 and the T5 v1.1 release: gated GELU, no biases, RMSNorm).
"""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from data_prep.section import Positive, Section
from pipeline.model.position_config import LearnedPositions, PositionConfig, T5Positions

VOCAB_MULTIPLE = 64


class ModelConfig(Section):
    """The shape of one encoder-decoder."""

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
    dropout_rate: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    layer_norm_epsilon: Annotated[float, Field(gt=0.0)] = 1e-6
    tie_word_embeddings: bool = True
    feed_forward_proj: Literal["gated-gelu"] = "gated-gelu"
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
        if "rope" in (self.positions.kind, self.decoder_position_config.kind) and self.d_kv % 2:
            raise ValueError(f"positions: rope turns pairs of columns, so d_kv ({self.d_kv}) must be even")
        tables = [
            scheme for scheme in (self.positions, self.decoder_position_config) if isinstance(scheme, LearnedPositions)
        ]
        if self.randomized_positions and tables and tables[0].max_positions < self.randomized_positions:
            raise ValueError(
                f"randomized_positions ({self.randomized_positions}) must not exceed positions.max_positions "
                f"({tables[0].max_positions})"
            )
        return self

    @property
    def decoder_position_config(self) -> PositionConfig:
        """The decoder's scheme."""
        return self.positions if self.decoder_positions is None else self.decoder_positions

    @property
    def decoder_layers(self) -> int:
        """The number of decoder layers."""
        return self.num_layers if self.num_decoder_layers is None else self.num_decoder_layers


def padded_vocab_size(vocab_size: int) -> int:
    """Rows of the embedding: the tokenizer's vocabulary rounded up to a multiple of 64, which matrix units want."""
    return -(-vocab_size // VOCAB_MULTIPLE) * VOCAB_MULTIPLE


def count_parameters(config: ModelConfig, vocab_size: int) -> int:
    """The number of trained numbers for a tokenizer of `vocab_size`; a tied head is counted once."""
    attention = 4 * config.d_model * config.num_heads * config.d_kv + config.d_model
    feed_forward = 3 * config.d_model * config.d_ff + config.d_model
    encoder = config.num_layers * (attention + feed_forward) + config.d_model
    encoder += _position_parameters(config.positions, config)
    decoder = config.decoder_layers * (2 * attention + feed_forward) + config.d_model
    decoder += _position_parameters(config.decoder_position_config, config)
    embedding = padded_vocab_size(vocab_size) * config.d_model
    return encoder + decoder + embedding * (1 if config.tie_word_embeddings else 2)


def _position_parameters(scheme: PositionConfig, config: ModelConfig) -> int:
    if isinstance(scheme, T5Positions):
        return config.relative_attention_num_buckets * config.num_heads
    return scheme.max_positions * config.d_model if isinstance(scheme, LearnedPositions) else 0
