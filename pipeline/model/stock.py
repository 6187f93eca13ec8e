"""Which models transformers' classes have a place for: asked when a config is read, before any training (no torch)."""

from pipeline.model.config import ModelConfig
from pipeline.model.position_config import LearnedPositions, MPNetPositions, RotaryPositions, T5Positions

_SCHEMES: dict[str, type] = {
    "t5": T5Positions,
    "bart": LearnedPositions,
    "bert": LearnedPositions,
    "electra": LearnedPositions,
    "mpnet": MPNetPositions,
    "modernbert": RotaryPositions,
}
_MPNET_DISTANCE, _BART_EPSILON = 128, 1e-5  # written into their code


def stock_refusal(config: ModelConfig) -> str | None:
    """What of this model the class of its architecture does not have, in words; None when it has all."""
    for scheme in (config.positions, config.decoder_position_config):
        if not isinstance(scheme, _SCHEMES[config.architecture]):
            return f"positions {scheme.kind}"
        if isinstance(scheme, RotaryPositions) and scheme.fraction < 1:
            return f"positions.fraction {scheme.fraction}"
    if config.decoder_position_config != config.positions:
        return "decoder_positions of its own"
    if config.randomized_positions:
        return "randomized_positions"
    if config.architecture == "mpnet" and config.relative_attention_max_distance != _MPNET_DISTANCE:
        return f"relative_attention_max_distance {config.relative_attention_max_distance} (it has {_MPNET_DISTANCE})"
    if config.architecture == "bart" and config.layer_norm_epsilon != _BART_EPSILON:
        return f"layer_norm_epsilon {config.layer_norm_epsilon:g} (it has {_BART_EPSILON:g})"
    if config.architecture != "modernbert" and config.local_attention:
        return "local_attention"
    if config.architecture != "t5" and config.num_heads * config.d_kv != config.d_model:
        return f"num_heads ({config.num_heads}) x d_kv ({config.d_kv}) other than d_model ({config.d_model})"
    return None
