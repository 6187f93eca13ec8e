"""ELECTRA's discriminator as transformers' ElectraForPreTraining has it: BERT's encoder, one logit per token."""

from typing import Any

from pipeline.export.layouts import Place, bert, place_by_tables
from pipeline.model.config import ModelConfig

HEAD_CLASS, BODY_CLASS, BODY_PREFIX = "ElectraForPreTraining", "ElectraModel", "electra."
HEAD_PARTS: tuple[str, ...] = ("discriminator_predictions",)
POSITION_OFFSET: int | None = 0

_NAMES = {
    "embedding": "electra.embeddings.word_embeddings",
    "token_types": "electra.embeddings.token_type_embeddings",
    "encoder.positions.table": "electra.embeddings.position_embeddings",
    "encoder.embedding_norm": "electra.embeddings.LayerNorm",
    "head.dense": "discriminator_predictions.dense",
    "head.score": "discriminator_predictions.dense_prediction",
}


def place(name: str) -> Place:
    """Where ELECTRA has our parameter `name`."""
    return place_by_tables(name, _NAMES, bert.BLOCKS, "electra.encoder.layer.{number}.{part}")


def config_fields(config: ModelConfig, vocab_size: int) -> dict[str, Any]:
    """The fields of ELECTRA's config.json that follow from the model."""
    return {
        **bert.config_fields(config, vocab_size),
        "model_type": "electra",
        "embedding_size": config.d_model,
    }
