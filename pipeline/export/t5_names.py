"""Our parameter names to those of transformers' T5ForConditionalGeneration, one to one; shapes are the same."""

import re

from data_prep.errors import SpanwrightError

OBJECTIVE_PREFIX = "model."

_BLOCK = re.compile(r"(encoder|decoder)\.blocks\.(\d+)\.(\w+?)(?:\.(\w+))?\.weight")
_PROJECTIONS = {"query": "q", "key": "k", "value": "v", "output": "o"}
_FEED_FORWARD = {"gate": "wi_0", "up": "wi_1", "down": "wo"}


def t5_name(name: str) -> str:
    """The T5 name of our parameter `name` (with or without the objective's "model." in front).

    Raises SpanwrightError for a parameter T5 has no place for.
    """
    given, name = name, name.removeprefix(OBJECTIVE_PREFIX)
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
        raise SpanwrightError(f"export to hf: T5 has no parameter for {given!r}; this model is not a T5")
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
