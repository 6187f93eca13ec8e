"""Token embedding variability (pipeline/evaluation/embeddings.py) of the table as it lies in pieces over the ranks.

Each rank sums the rows and parts of rows that it steps; one all-reduce of two numbers a row makes them whole.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.evaluation.embeddings import row_sums, variability_of
from pipeline.training.optimizers.flat import Layout


@dataclass(frozen=True)
class EmbeddingTable:
    """The parameter that embeds tokens."""

    name: str
    vocab_size: int
    """Its first rows, which are tokens; those after them pad it."""


@torch.no_grad()
def table_variability(
    layout: Layout, parameter: int, vocab_size: int, weights_of: Callable[[Tensor], Tensor]
) -> tuple[float, float]:
    """TEV of the parameter of this number: mean and standard deviation over the vocabulary. Collective where sharded.

    `weights_of` a tensor of the layout are the weights in its place: itself, or an average of it.
    """
    num_rows, width = layout.shapes[parameter]
    sums_2V = torch.zeros(2, num_rows, dtype=torch.float64)
    for tensor, pieces in layout.pieces.items():
        for piece in pieces:
            if piece.parameter == parameter:
                values = weights_of(tensor).reshape(-1)[piece.start : piece.stop]
                for first, rows in _in_rows(values, piece.offset, width):
                    sums_2V[:, first : first + len(rows)] += row_sums(rows).cpu()
    return variability_of(layout.over_ranks(sums_2V)[:, :vocab_size], width)


def _in_rows(values: Tensor, offset: int, width: int) -> Iterator[tuple[int, Tensor]]:
    """Elements of a table from its element `offset` on, cut where rows end: (first row, [rows, their elements])."""
    begin = min(-offset % width, len(values))
    end = len(values) - (offset + len(values)) % width if begin < len(values) else begin
    if begin:
        yield offset // width, values[None, :begin]
    if end > begin:
        yield (offset + begin) // width, values[begin:end].view(-1, width)
    if end < len(values):
        yield (offset + end) // width, values[None, end:]
