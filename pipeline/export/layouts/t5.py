"""T5 v1.1 as transformers' T5ForConditionalGeneration has it, name by name; shapes are the same."""

import re
from typing import Any

from data_prep.errors import SpanwrightError
from pipeline.export.layouts import Place
from pipeline.model.config import ModelConfig

HEAD_CLASS, BODY_CLASS, BODY_PREFIX = "T5ForConditionalGeneration", "T5EncoderModel", ""
HEAD_PARTS: tuple[str, ...] = ()
POSITION_OFFSET: int | None = None

_BLOCK = re.compile(r"(encoder|decoder)\.blocks\.(\d+)\.(\w+?)(?:\.(\w+))?\.weight")
_PROJECTIONS = {"query": "q", "key": "k", "value": "v", "output": "o"}
_FEED_FORWARD = {"gate": "wi_0", "up": "wi_1", "down": "wo"}


def place(name: str) -> Place:
    """Where T5 has our parameter `name`."""
    return Place(t5_name(name))


def config_fields(config: ModelConfig, vocab_size: int) -> dict[str, Any]:
    """The fields of T5's config.json that follow from the model.

    `tie_word_embeddings: false` also tells transformers not to scale the states before the head.
    """
    same_names = (
        "d_model",
        "d_kv",
        "d_ff",
        "num_layers",
        "num_heads",
        "relative_attention_num_buckets",
        "relative_attention_max_distance",
        "dropout_rate",
        "layer_norm_epsilon",
        "initializer_factor",
        "tie_word_embeddings",
    )
    return {
        "model_type": "t5",
        "is_encoder_decoder": True,
        "use_cache": True,
        "vocab_size": vocab_size,
        "num_decoder_layers": config.decoder_layers,
        "feed_forward_proj": "gated-gelu",
        **{name: getattr(config, name) for name in same_names},
    }


def t5_name(name: str) -> str:
    """The T5 name of our parameter `name`; SpanwrightError for a parameter T5 has no place for."""
    if name in ("embedding.weight", "head.weight"):
        return {"embedding.weight": "shared.weight", "head.weight": "lm_head.weight"}[name]
    for stack in ("encoder", "decoder"):
        if name == f"{stack}.norm.weight":
            return f"{stack}.final_layer_norm.weight"
        if name == f"{stack}.positions.weight":
            return f"{stack}.block.0.layer.0.SelfAttention.relative_attention_bias.weight"
    match = _BLOCK.fullmatch(name)
    place = match and _place_in_block(match[1], match[3], match[4])
    if not match or not place:
        raise SpanwrightError(f"export: T5 has no parameter for {name!r}; this model is not a T5")
    return f"{match[1]}.block.{match[2]}.layer.{place}.weight"


def _place_in_block(stack: str, part: str, matrix: str | None) -> str | None:
    feed_forward = 1 if stack == "encoder" else 2
    if matrix is None:
        norms = {"self_norm": 0, "cross_norm": 1, "feed_forward_norm": feed_forward}
        return f"{norms[part]}.layer_norm" if part in norms else None
    if part == "feed_forward" and matrix in _FEED_FORWARD:
        return f"{feed_forward}.DenseReluDense.{_FEED_FORWARD[matrix]}"
    attentions = {"self_attention": "0.SelfAttention", "cross_attention": "1.EncDecAttention"}
    if part in attentions and matrix in _PROJECTIONS:
        return f"{attentions[part]}.{_PROJECTIONS[matrix]}"
    return None
