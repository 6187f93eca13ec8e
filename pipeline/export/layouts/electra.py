"""ELECTRA's discriminator as transformers' ElectraForPreTraining has it: BERT's encoder, one logit per token."""

from collections.abc import Mapping
from typing import Any

import torch

from pipeline.export.layouts import bert, renamed
from pipeline.model.config import ModelConfig

HEAD_CLASS = "ElectraForPreTraining"
POSITION_OFFSET: int | None = 0

_NAMES = {
    "embedding": "electra.embeddings.word_embeddings",
    "token_types": "electra.embeddings.token_type_embeddings",
    "encoder.positions.table": "electra.embeddings.position_embeddings",
    "encoder.embedding_norm": "electra.embeddings.LayerNorm",
    "head.dense": "discriminator_predictions.dense",
    "head.score": "discriminator_predictions.dense_prediction",
}


def converted(weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The weights by their ELECTRA names."""
    return renamed(weights, _NAMES, bert.BLOCKS, "electra.encoder.layer.{number}.{part}")


def config_fields(config: ModelConfig, vocab_size: int) -> dict[str, Any]:
    """The fields of ELECTRA's config.json that follow from the model."""
    return {
        **bert.config_fields(config, vocab_size),
        "model_type": "electra",
        "embedding_size": config.d_model,
    }
