"""MPNet as transformers' MPNetForMaskedLM has it: position p is row p + 2 of its table."""

from collections.abc import Mapping
from typing import Any

import torch

from pipeline.export.layouts import renamed
from pipeline.export.layouts.bert import encoder_sizes
from pipeline.model.config import ModelConfig
from pipeline.model.position_config import MPNetPositions

HEAD_CLASS = "MPNetForMaskedLM"
POSITION_OFFSET: int | None = 2

_NAMES = {
    "embedding": "mpnet.embeddings.word_embeddings",
    "encoder.positions.absolute.table": "mpnet.embeddings.position_embeddings",
    "encoder.positions": "mpnet.encoder.relative_attention_bias",
    "encoder.embedding_norm": "mpnet.embeddings.LayerNorm",
    "head.dense": "lm_head.dense",
    "head.norm": "lm_head.layer_norm",
    "head": "lm_head",
}
_BLOCKS = {
    "self_attention.query": "attention.attn.q",
    "self_attention.key": "attention.attn.k",
    "self_attention.value": "attention.attn.v",
    "self_attention.output": "attention.attn.o",
    "self_norm": "attention.LayerNorm",
    "feed_forward.up": "intermediate.dense",
    "feed_forward.down": "output.dense",
    "feed_forward_norm": "output.LayerNorm",
}
_TABLE = "encoder.positions.absolute.table.weight"


def converted(weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The weights by their MPNet names."""
    return renamed(
        {**weights, _TABLE: with_rows_before(weights[_TABLE])}, _NAMES, _BLOCKS, "mpnet.encoder.layer.{number}.{part}"
    )


def config_fields(config: ModelConfig, vocab_size: int) -> dict[str, Any]:
    """The fields of MPNet's config.json that follow from the model."""
    assert isinstance(config.positions, MPNetPositions), "refused before"
    return {
        "model_type": "mpnet",
        "max_position_embeddings": config.positions.max_positions + 2,
        "relative_attention_num_buckets": config.relative_attention_num_buckets,
        **encoder_sizes(config, vocab_size),
    }


def with_rows_before(table: torch.Tensor) -> torch.Tensor:
    """A table of positions with the two rows in front that fairseq's models have and never look up."""
    return torch.cat([table.new_zeros(2, table.shape[1]), table])
