"""Stock layouts: one file per Hugging Face architecture, found by the name in `model.architecture`.

Which models they have a place for is pipeline/model/stock.py. A file NAME.py here holds
- `HEAD_CLASS`, the transformers class that the whole model loads as, `BODY_CLASS`, what its encoder alone loads as,
  and `BODY_PREFIX`, what the names of the body begin with in the whole model and do not in itself;
- `place(name)`: where our parameter of this name lies; SpanwrightError for one without a place;
- `config_fields(config, vocab_size)`: the fields of config.json that follow from the model;
- `HEAD_PARTS`, the parts of an encoder's class that make logits of its states, one after another;
- `POSITION_OFFSET`: what the class adds to a row's position before it looks it up (None: it takes no positions);
- where the class has tensors that no model of ours has, `zeros(vocab_size)`: {stock name: shape} of them, all zeros.

One table serves both ways: an export stacks the parameters that share a place, a reader takes them apart again.
"""

import importlib
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import torch

from data_prep.errors import SpanwrightError
from pipeline.model.config import ModelConfig

OBJECTIVE_PREFIX = "model."


class Place(NamedTuple):
    """Where a parameter lies: rows of the stock tensor `name`, as number `part` of those that share it.

    `rows_before` rows that the class never looks up stand above the first.
    """

    name: str
    part: int = 0
    rows_before: int = 0


class Stock(NamedTuple):
    """A stock tensor and the parameters of ours in it, from the top."""

    name: str
    parts: tuple[str, ...]
    rows_before: int


def layout_of(config: ModelConfig) -> Any:
    """The layout module of the architecture."""
    return importlib.import_module(f"{__name__}.{config.architecture}")


def stock_tensors(layout: Any, names: Iterable[str]) -> list[Stock]:
    """The stock tensors of a model whose parameters have these names, in the order of their first parts' names."""
    places = {name: layout.place(name) for name in sorted(names)}
    found: dict[str, list[str]] = {}
    for name, place in places.items():
        found.setdefault(place.name, []).append(name)
    return [
        Stock(stock, tuple(sorted(parts, key=lambda name: places[name].part)), places[parts[0]].rows_before)
        for stock, parts in found.items()
    ]


def stacked(stock: Stock, weights: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """The stock tensor made of `weights`, by our names."""
    tensors = [weights[name] for name in stock.parts]
    if stock.rows_before:
        tensors = [tensors[0].new_zeros(stock.rows_before, *tensors[0].shape[1:]), *tensors]
    return tensors[0] if len(tensors) == 1 else torch.cat(tensors)


def taken_apart(stock: Stock, tensor: torch.Tensor, shapes: Mapping[str, torch.Size]) -> dict[str, torch.Tensor]:
    """Our parameters in a stock tensor; SpanwrightError where it has not the rows for their `shapes`."""
    rows = [shapes[name][0] for name in stock.parts]
    expected = (sum(rows) + stock.rows_before, *shapes[stock.parts[0]][1:])
    if tuple(tensor.shape) != expected:
        raise SpanwrightError(f"{stock.name} has shape {list(tensor.shape)}, this model needs {list(expected)}")
    return dict(zip(stock.parts, tensor[stock.rows_before :].split(rows), strict=True))


def place_by_tables(name: str, names: Mapping[str, str], blocks: Mapping[str, str], block_format: str) -> Place:
    """The place of `name`: `names` for whole parts (as "encoder.embedding_norm"), `blocks` for parts of a block.

    A part's weight and bias keep their last names. `block_format` takes stack, number and the part's stock name.
    """
    part, _, last = name.rpartition(".")
    stack, *rest = part.split(".", maxsplit=3)
    if part in names:
        stock = names[part]
    elif len(rest) == 3 and rest[0] == "blocks" and rest[2] in blocks:
        stock = block_format.format(stack=stack, number=rest[1], part=blocks[rest[2]])
    else:
        raise SpanwrightError(f"export: this architecture has no parameter for {name!r}")
    return Place(f"{stock}.{last}")
