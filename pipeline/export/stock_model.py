"""What is written of a trained model for a stock class: the whole, or its encoder alone.

Invariant: every parameter of the model (or of its encoder) has its place, and the class has no tensor without one.
"""

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from data_prep.errors import InputError
from data_prep.tokenizer import Tokenizer
from pipeline.export.folder import DTYPES, Stored
from pipeline.export.layouts import Stock, bert, layout_of, stacked, stock_tensors
from pipeline.export.weights import ModelWeights
from pipeline.model.config import ModelConfig

_BLOCK = re.compile(r"encoder\.blocks\.(\d+)\.")
_ENCODER = ("embedding.", "token_types.", "encoder.")


@dataclass(frozen=True)
class StockModel:
    """A model as a class of transformers has it."""

    class_name: str
    fields: Mapping[str, Any]
    """Of config.json, that follow from the model."""
    tensors: tuple[Stored, ...]
    has_decoder: bool


def whole_model(config: ModelConfig, weights: ModelWeights) -> StockModel:
    """The whole model, by the layout of its architecture."""
    layout = layout_of(config)
    tensors = [_stored(stock, weights) for stock in stock_tensors(layout, weights)]
    zeros = layout.zeros(weights.vocab_size) if hasattr(layout, "zeros") else {}
    fields = layout.config_fields(config, weights.vocab_size)
    return StockModel(layout.HEAD_CLASS, fields, (*tensors, *_zeros(zeros)), config.layers.has_decoder)


def encoder_alone(config: ModelConfig, weights: ModelWeights, num_layers: int | None = None) -> StockModel:
    """The encoder, or its first `num_layers` layers (with its last norm, where it has one), without a head."""
    kept = kept_layers(config, num_layers)
    # In our terms BART's encoder is BERT's without token types.
    layout = bert if config.architecture == "bart" else layout_of(config)
    names = [name for name in weights if _is_kept(name, kept)]
    tensors = [
        _stored(stock._replace(name=stock.name.removeprefix(layout.BODY_PREFIX)), weights)
        for stock in stock_tensors(layout, names)
    ]
    fields = layout.config_fields(config.model_copy(update={"num_layers": kept}), weights.vocab_size)
    zeros: dict[str, tuple[int, ...]] = {}
    if config.architecture == "bart":
        zeros, fields["type_vocab_size"] = {"embeddings.token_type_embeddings.weight": (1, config.d_model)}, 1
    if config.architecture == "t5":
        fields |= {"is_encoder_decoder": False, "use_cache": False}
        del fields["num_decoder_layers"]
    return StockModel(layout.BODY_CLASS, fields, (*tensors, *_zeros(zeros)), has_decoder=False)


def kept_layers(config: ModelConfig, num_layers: int | None) -> int:
    """How many of the encoder's layers an export keeps; InputError for more than it has."""
    if num_layers is not None and num_layers > config.num_layers:
        raise InputError(
            f"export.encoder_layers is {num_layers}, and the encoder has {config.num_layers} (model.num_layers)"
        )
    return num_layers or config.num_layers


def config_json(model: StockModel, config: ModelConfig, tokenizer: Tokenizer, dtype: str = "fp32") -> dict[str, Any]:
    """The content of config.json."""
    ids = special_ids(config, tokenizer)
    return {
        "architectures": [model.class_name],
        "dtype": str(DTYPES[dtype]).removeprefix("torch."),
        **model.fields,
        **{name: index for name, index in ids.items() if model.has_decoder or not name.startswith("decoder_")},
    }


def special_ids(config: ModelConfig, tokenizer: Tokenizer) -> dict[str, int]:
    """The fields of config.json that name special tokens."""
    special = tokenizer.special
    if config.layers.has_decoder:
        return {"pad_token_id": special.pad, "eos_token_id": special.eos, "decoder_start_token_id": special.pad}
    ids = {"pad": special.pad, "bos": special.cls, "eos": special.sep, "cls": special.cls, "sep": special.sep}
    return {f"{name}_token_id": index for name, index in ids.items()}


def _is_kept(name: str, num_layers: int) -> bool:
    block = _BLOCK.match(name)
    return name.startswith(_ENCODER) and (block is None or int(block[1]) < num_layers)


def _stored(stock: Stock, weights: ModelWeights) -> Stored:
    rows = sum(weights.shapes[name][0] for name in stock.parts) + stock.rows_before
    shape = (rows, *weights.shapes[stock.parts[0]][1:])
    return Stored(stock.name, shape, lambda: stacked(stock, weights))


def _zeros(shapes: Mapping[str, tuple[int, ...]]) -> list[Stored]:
    return [Stored(name, shape, functools.partial(torch.zeros, shape)) for name, shape in shapes.items()]
