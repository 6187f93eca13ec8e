"""BERT as transformers' BertForMaskedLM has it."""

from typing import Any

from pipeline.export.layouts import Place, place_by_tables
from pipeline.model.config import ModelConfig
from pipeline.model.position_config import LearnedPositions

HEAD_CLASS, BODY_CLASS, BODY_PREFIX = "BertForMaskedLM", "BertModel", "bert."
HEAD_PARTS: tuple[str, ...] = ("cls",)
POSITION_OFFSET: int | None = 0

_NAMES = {
    "embedding": "bert.embeddings.word_embeddings",
    "token_types": "bert.embeddings.token_type_embeddings",
    "encoder.positions.table": "bert.embeddings.position_embeddings",
    "encoder.embedding_norm": "bert.embeddings.LayerNorm",
    "head.dense": "cls.predictions.transform.dense",
    "head.norm": "cls.predictions.transform.LayerNorm",
    "head": "cls.predictions",
}
BLOCKS = {
    "self_attention.query": "attention.self.query",
    "self_attention.key": "attention.self.key",
    "self_attention.value": "attention.self.value",
    "self_attention.output": "attention.output.dense",
    "self_norm": "attention.output.LayerNorm",
    "feed_forward.up": "intermediate.dense",
    "feed_forward.down": "output.dense",
    "feed_forward_norm": "output.LayerNorm",
}


def place(name: str) -> Place:
    """Where BERT has our parameter `name`."""
    return place_by_tables(name, _NAMES, BLOCKS, "bert.encoder.layer.{number}.{part}")


def config_fields(config: ModelConfig, vocab_size: int) -> dict[str, Any]:
    """The fields of BERT's config.json that follow from the model."""
    assert isinstance(config.positions, LearnedPositions), "refused before"
    return {
        "model_type": "bert",
        "type_vocab_size": config.layers.token_types,
        "max_position_embeddings": config.positions.max_positions,
        **encoder_sizes(config, vocab_size),
    }


def encoder_sizes(config: ModelConfig, vocab_size: int) -> dict[str, Any]:
    """What BERT and its like call the sizes."""
    return {
        "vocab_size": vocab_size,
        "hidden_size": config.d_model,
        "num_hidden_layers": config.num_layers,
        "num_attention_heads": config.num_heads,
        "intermediate_size": config.d_ff,
        "hidden_act": "gelu",
        "hidden_dropout_prob": config.dropout_rate,
        "attention_probs_dropout_prob": config.dropout_rate,
        "layer_norm_eps": config.layer_norm_epsilon,
        "initializer_range": config.layers.deviation,
        "tie_word_embeddings": True,
    }
