"""MPNet as transformers' MPNetForMaskedLM has it: position p is row p + 2 of its table."""

from typing import Any

from pipeline.export.layouts import Place, place_by_tables
from pipeline.export.layouts.bert import encoder_sizes
from pipeline.model.config import ModelConfig
from pipeline.model.position_config import MPNetPositions

HEAD_CLASS, BODY_CLASS, BODY_PREFIX = "MPNetForMaskedLM", "MPNetModel", "mpnet."
HEAD_PARTS: tuple[str, ...] = ("lm_head",)
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


def place(name: str) -> Place:
    """Where MPNet has our parameter `name`; its table has two rows in front, as fairseq's models have."""
    found = place_by_tables(name, _NAMES, _BLOCKS, "mpnet.encoder.layer.{number}.{part}")
    return found._replace(rows_before=2) if name == _TABLE else found


def config_fields(config: ModelConfig, vocab_size: int) -> dict[str, Any]:
    """The fields of MPNet's config.json that follow from the model."""
    assert isinstance(config.positions, MPNetPositions), "refused before"
    return {
        "model_type": "mpnet",
        "max_position_embeddings": config.positions.max_positions + 2,
        "relative_attention_num_buckets": config.relative_attention_num_buckets,
        **encoder_sizes(config, vocab_size),
    }
