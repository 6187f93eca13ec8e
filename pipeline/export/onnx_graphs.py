"""What is traced into ONNX: small modules around a stock class, with names for what goes in and comes out.

Encoder-decoders become three graphs with the names that optimum gave them: the encoder; the decoder's first step, which
also gives keys and values; and every later step, which reads these instead of the encoder's states. An encoder with a
head becomes one graph that gives states and logits.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.export import Dim

from pipeline.export.libraries import library
from pipeline.model.config import ModelConfig

ENCODER, FIRST_STEP, LATER_STEP = "encoder_model", "decoder_model", "decoder_with_past_model"
WHOLE = "model"
KINDS = ("decoder.key", "decoder.value", "encoder.key", "encoder.value")
"""Of each layer: what it keeps of its own rows, and of the encoder's."""

_BATCH, _LENGTH, _TARGET, _PAST = (Dim(name) for name in ("batch", "length", "target_length", "past_length"))


class Graph(NamedTuple):
    """A module, example inputs by name, which of their axes vary, and the names of its outputs."""

    name: str
    module: nn.Module
    inputs: dict[str, Any]
    axes: dict[str, Any]
    outputs: tuple[str, ...]

    @property
    def input_names(self) -> list[str]:
        """Of the tensors, lists taken apart."""
        named = {"past": past_names(len(self.inputs.get("past", ())) // len(KINDS))}
        return [name for key in self.inputs for name in named.get(key, [key])]


def past_names(num_layers: int, prefix: str = "past_key_values") -> list[str]:
    """The names of what all layers keep."""
    return [f"{prefix}.{layer}.{kind}" for layer in range(num_layers) for kind in KINDS]


def graphs(model: Any, config: ModelConfig, head_parts: Sequence[str]) -> Iterator[Graph]:
    """The graphs of a stock `model`; `head_parts` make logits of an encoder's states."""
    # Two tensors, not one twice: the tracer would take them for the same input.
    ids, mask = torch.ones(2, 5, dtype=torch.int64), torch.ones(2, 5, dtype=torch.int64)
    row = {0: _BATCH, 1: _LENGTH}
    inputs, axes = {"input_ids": ids, "attention_mask": mask}, {"input_ids": row, "attention_mask": row}
    if not config.layers.has_decoder:
        if config.layers.token_types:
            inputs, axes = {**inputs, "token_type_ids": torch.zeros_like(ids)}, {**axes, "token_type_ids": row}
        yield Graph(WHOLE, _WithHead(model, head_parts), inputs, axes, ("last_hidden_state", "logits"))
        return
    yield Graph(ENCODER, _Encoder(model), inputs, axes, ("last_hidden_state",))
    kept = past_names(config.decoder_layers, "present")
    states = torch.zeros(2, 5, config.d_model)
    decoder_ids = torch.ones(2, 3, dtype=torch.int64)
    inputs = {"input_ids": decoder_ids, "encoder_attention_mask": mask, "encoder_hidden_states": states}
    axes = {"input_ids": {0: _BATCH, 1: _TARGET}, "encoder_attention_mask": row, "encoder_hidden_states": row}
    yield Graph(FIRST_STEP, _FirstStep(model), inputs, axes, ("logits", *kept))
    shapes = {"decoder": (2, config.num_heads, 3, config.d_kv), "encoder": (2, config.num_heads, 5, config.d_kv)}
    lengths = {"decoder": {0: _BATCH, 2: _PAST}, "encoder": {0: _BATCH, 2: _LENGTH}}
    sides = [kind.split(".")[0] for _ in range(config.decoder_layers) for kind in KINDS]
    later = {
        "input_ids": decoder_ids[:, :1],
        "encoder_attention_mask": mask,
        "past": [torch.zeros(shapes[side]) for side in sides],
    }
    later_axes = {"input_ids": {0: _BATCH}, "encoder_attention_mask": row, "past": [lengths[side] for side in sides]}
    yield Graph(LATER_STEP, _LaterStep(model, config), later, later_axes, ("logits", *_own(kept)))


def _own(names: Sequence[str]) -> list[str]:
    """Those of the decoder's own rows: what the encoder gave does not change."""
    return [name for name in names if ".decoder." in name]


class _WithHead(nn.Module):
    def __init__(self, model: Any, head_parts: Sequence[str]) -> None:
        super().__init__()
        self.body = model.base_model
        self.head = nn.Sequential(*(getattr(model, part) for part in head_parts))

    def forward(self, input_ids: Any, attention_mask: Any, token_type_ids: Any = None) -> tuple[Any, Any]:
        types = {} if token_type_ids is None else {"token_type_ids": token_type_ids}
        states = self.body(input_ids=input_ids, attention_mask=attention_mask, **types).last_hidden_state
        return states, self.head(states)


class _Encoder(nn.Module):
    def __init__(self, model: Any) -> None:
        super().__init__()
        self.encoder = model.get_encoder()

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        states: torch.Tensor = self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        return states


class _FirstStep(nn.Module):
    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: Any, encoder_attention_mask: Any, encoder_hidden_states: Any) -> tuple[Any, ...]:
        caches = library("transformers.cache_utils")
        cache = caches.EncoderDecoderCache(caches.DynamicCache(), caches.DynamicCache())
        logits = _decoded(self.model, input_ids, encoder_attention_mask, encoder_hidden_states, cache)
        both = zip(cache.self_attention_cache.layers, cache.cross_attention_cache.layers, strict=True)
        kept = [tensor for own, other in both for tensor in (own.keys, own.values, other.keys, other.values)]
        return (logits, *kept)


class _LaterStep(nn.Module):
    def __init__(self, model: Any, config: ModelConfig) -> None:
        super().__init__()
        self.model = model
        self.width = config.d_model

    def forward(self, input_ids: Any, encoder_attention_mask: Any, past: list[Any]) -> tuple[Any, ...]:
        caches = library("transformers.cache_utils")
        own, other = caches.DynamicCache(), caches.DynamicCache()
        for layer in range(len(past) // 4):
            own.update(past[4 * layer], past[4 * layer + 1], layer)
            other.update(past[4 * layer + 2], past[4 * layer + 3], layer)
        cache = caches.EncoderDecoderCache(own, other)
        # The class wants states to know that there is an encoder; it reads the cache instead of their numbers.
        states = encoder_attention_mask[:, :, None].float().expand(-1, -1, self.width)
        logits = _decoded(self.model, input_ids, encoder_attention_mask, states, cache)
        kept = [tensor for layer in cache.self_attention_cache.layers for tensor in (layer.keys, layer.values)]
        return (logits, *kept)


def _decoded(model: Any, input_ids: Any, encoder_mask: Any, encoder_states: Any, cache: Any) -> Any:
    outputs = library("transformers.modeling_outputs").BaseModelOutput(last_hidden_state=encoder_states)
    return model(
        decoder_input_ids=input_ids,
        attention_mask=encoder_mask,
        encoder_outputs=outputs,
        past_key_values=cache,
        use_cache=True,
    ).logits
