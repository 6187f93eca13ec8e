"""BART as transformers' BartForConditionalGeneration has it: position p is row p + 2 of its tables."""

from typing import Any

from pipeline.export.layouts import Place, bert, place_by_tables
from pipeline.model.config import ModelConfig
from pipeline.model.position_config import LearnedPositions

HEAD_CLASS = "BartForConditionalGeneration"
# transformers has no class for BART's encoder alone, and needs none: its layers are BERT's, name for name in our terms.
BODY_CLASS, BODY_PREFIX = bert.BODY_CLASS, bert.BODY_PREFIX
HEAD_PARTS: tuple[str, ...] = ()
POSITION_OFFSET: int | None = None

_NAMES = {"embedding": "model.shared", "head": "lm_head"} | {
    f"{stack}.{ours}": f"model.{stack}.{theirs}"
    for stack in ("encoder", "decoder")
    for ours, theirs in {"positions.table": "embed_positions", "embedding_norm": "layernorm_embedding"}.items()
}
_PROJECTIONS = {"query": "q_proj", "key": "k_proj", "value": "v_proj", "output": "out_proj"}
_BLOCKS = {
    "self_norm": "self_attn_layer_norm",
    "cross_norm": "encoder_attn_layer_norm",
    "feed_forward.up": "fc1",
    "feed_forward.down": "fc2",
    "feed_forward_norm": "final_layer_norm",
} | {
    f"{kind}_attention.{ours}": f"{stock}.{theirs}"
    for kind, stock in {"self": "self_attn", "cross": "encoder_attn"}.items()
    for ours, theirs in _PROJECTIONS.items()
}
_TABLES = ("encoder.positions.table.weight", "decoder.positions.table.weight")


def place(name: str) -> Place:
    """Where BART has our parameter `name`."""
    found = place_by_tables(name, _NAMES, _BLOCKS, "model.{stack}.layers.{number}.{part}")
    return found._replace(rows_before=2) if name in _TABLES else found


def zeros(vocab_size: int) -> dict[str, tuple[int, ...]]:
    """The bias of its logits."""
    return {"final_logits_bias": (1, vocab_size)}


def config_fields(config: ModelConfig, vocab_size: int) -> dict[str, Any]:
    """The fields of BART's config.json that follow from the model."""
    assert isinstance(config.positions, LearnedPositions), "refused before"
    sides = {
        f"{stack}_{name}": value
        for stack, layers in (("encoder", config.num_layers), ("decoder", config.decoder_layers))
        for name, value in {"layers": layers, "attention_heads": config.num_heads, "ffn_dim": config.d_ff}.items()
    }
    return {
        "model_type": "bart",
        "is_encoder_decoder": True,
        "use_cache": True,
        "vocab_size": vocab_size,
        "d_model": config.d_model,
        **sides,
        "activation_function": "gelu",
        "dropout": config.dropout_rate,
        "attention_dropout": config.dropout_rate,
        "init_std": config.layers.deviation,
        "max_position_embeddings": config.positions.max_positions,
        "scale_embedding": False,
        "forced_eos_token_id": None,
        "tie_word_embeddings": config.tie_word_embeddings,
    }
