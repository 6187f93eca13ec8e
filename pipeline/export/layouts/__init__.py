"""Stock layouts: one file per Hugging Face architecture, found by the name in `model.architecture`.

Which models they have a place for is pipeline/model/stock.py. A file NAME.py here holds
- `HEAD_CLASS`, the transformers class that the whole model loads as;
- `converted(weights)`: {stock name: tensor} of our {name: tensor}; SpanwrightError for a weight without a place;
- `config_fields(config, vocab_size)`: the fields of config.json that follow from the model;
- `POSITION_OFFSET`: what the class adds to a row's position before it looks it up (None: it takes no positions).
"""

import importlib
from collections.abc import Mapping
from typing import Any

import torch

from data_prep.errors import SpanwrightError
from pipeline.model.config import ModelConfig

OBJECTIVE_PREFIX = "model."


def layout_of(config: ModelConfig) -> Any:
    """The layout module of the architecture."""
    return importlib.import_module(f"{__name__}.{config.architecture}")


def model_weights(weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The weights of the exported model by its own names, of an objective's: parts beside the model are left out."""
    return {
        name.removeprefix(OBJECTIVE_PREFIX): tensor
        for name, tensor in weights.items()
        if name.startswith(OBJECTIVE_PREFIX)
    }


def renamed(
    weights: Mapping[str, torch.Tensor], names: Mapping[str, str], blocks: Mapping[str, str], block_format: str
) -> dict[str, torch.Tensor]:
    """`weights` by stock name: `names` for whole parts (as "encoder.embedding_norm"), `blocks` for parts of a block.

    A part's weight and bias keep their last names. `block_format` takes stack, number and the part's stock name.
    """
    found = {}
    for name, tensor in weights.items():
        part, last = name.rsplit(".", maxsplit=1)
        stack, *rest = part.split(".", maxsplit=3)
        if part in names:
            stock = names[part]
        elif len(rest) == 3 and rest[0] == "blocks" and rest[2] in blocks:
            stock = block_format.format(stack=stack, number=rest[1], part=blocks[rest[2]])
        else:
            raise SpanwrightError(f"export to hf: this architecture has no parameter for {name!r}")
        found[stock if stock.endswith((".bias", ".weight")) else f"{stock}.{last}"] = tensor
    return found
