"""ModernBERT as transformers' ModernBertForMaskedLM has it: query, key and value are one matrix, gate and up one."""

import re
from typing import Any

from pipeline.export.layouts import Place, place_by_tables
from pipeline.model.config import ModelConfig
from pipeline.model.position_config import RotaryPositions

HEAD_CLASS, BODY_CLASS, BODY_PREFIX = "ModernBertForMaskedLM", "ModernBertModel", "model."
HEAD_PARTS: tuple[str, ...] = ("head", "decoder")
POSITION_OFFSET: int | None = 0

_LONGEST_INPUT = 8192
_NAMES = {
    "embedding": "model.embeddings.tok_embeddings",
    "encoder.embedding_norm": "model.embeddings.norm",
    "encoder.norm": "model.final_norm",
    "head.dense": "head.dense",
    "head.norm": "head.norm",
    "head": "decoder",
}
_BLOCKS = {
    "self_attention.joined": "attn.Wqkv",
    "self_attention.output": "attn.Wo",
    "self_norm": "attn_norm",
    "feed_forward.joined": "mlp.Wi",
    "feed_forward.down": "mlp.Wo",
    "feed_forward_norm": "mlp_norm",
}
_JOINED = {"self_attention": ("query", "key", "value"), "feed_forward": ("gate", "up")}
_PART = re.compile(r"(encoder\.blocks\.\d+\.(self_attention|feed_forward))\.(query|key|value|gate|up)\.weight")


def place(name: str) -> Place:
    """Where ModernBERT has our parameter `name`."""
    match = _PART.fullmatch(name)
    part = 0
    if match is not None:
        name, part = f"{match[1]}.joined.weight", _JOINED[match[2]].index(match[3])
    return place_by_tables(name, _NAMES, _BLOCKS, "model.layers.{number}.{part}")._replace(part=part)


def config_fields(config: ModelConfig, vocab_size: int) -> dict[str, Any]:
    """The fields of ModernBERT's config.json that follow from the model."""
    scheme = config.positions
    assert isinstance(scheme, RotaryPositions), "refused before"
    bases = {"full_attention": scheme.base, "sliding_attention": scheme.local_base or scheme.base}
    locals_ = [config.is_local(layer) for layer in range(config.num_layers)]
    return {
        "model_type": "modernbert",
        "vocab_size": vocab_size,
        "hidden_size": config.d_model,
        "num_hidden_layers": config.num_layers,
        "num_attention_heads": config.num_heads,
        "intermediate_size": config.d_ff,
        "hidden_activation": "gelu",
        "norm_eps": config.layer_norm_epsilon,
        "norm_bias": False,
        "attention_bias": False,
        "mlp_bias": False,
        "decoder_bias": True,
        "embedding_dropout": config.dropout_rate,
        "attention_dropout": config.dropout_rate,
        "mlp_dropout": config.dropout_rate,
        "initializer_range": config.layers.deviation,
        "max_position_embeddings": _LONGEST_INPUT,
        "local_attention": config.local_attention or _LONGEST_INPUT,
        "layer_types": ["sliding_attention" if local else "full_attention" for local in locals_],
        "rope_parameters": {kind: {"rope_type": "default", "rope_theta": base} for kind, base in bases.items()},
        "tie_word_embeddings": True,
    }
