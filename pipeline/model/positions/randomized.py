"""Randomized positions (Ruoss et al. 2023): a sequence of n rows gets n of `max_positions` numbers, in ascending order.

A model that has seen large distances among few rows copes with longer sequences. Works with every scheme. The numbers
are drawn without state: position p is draw p of the sequence's first row, and the n smallest draws are taken; so a row
has the same position in every layer, on every rank, and again after a resume.
"""

import dataclasses

import torch

from pipeline.batch import Batch
from pipeline.corruption.philox import Key
from pipeline.kernels.philox import random_bits
from pipeline.model.streams import Drawing


class RandomizedPositions(Drawing):
    """Replaces a view's positions where a model asks for it (`max_positions`)."""

    stream = "positions"

    def __init__(self, max_positions: int | None) -> None:
        super().__init__()
        self.max_positions = max_positions

    def forward(self, view: Batch) -> Batch:
        """`view`, or `view` with drawn positions."""
        if self.max_positions is None:
            return view
        return randomize_positions(view, self.max_positions, self.key)


def randomize_positions(view: Batch, max_positions: int, key: Key) -> Batch:
    """`view` with its positions replaced; sequences longer than `max_positions` keep counting from 0."""
    num_rows, device = len(view.positions), view.positions.device
    starts_N, lengths_N = view.cu_seqlens[:-1].to(torch.int64), view.cu_seqlens.diff().to(torch.int64)
    first_N, numbers_P = starts_N.clamp(max=num_rows - 1), torch.arange(max_positions, device=device)
    bits_NP = random_bits(key, view.sample_positions[first_N], view.sample_rows[first_N], max_positions)
    # Equal draws are told apart by their number, so that exactly n are taken.
    order_NP = ((bits_NP << 31) | numbers_P).argsort(dim=1)
    places_NP = torch.empty_like(order_NP).scatter_(1, order_NP, numbers_P.expand_as(order_NP))
    lengths_N = torch.where(lengths_N <= max_positions, lengths_N, 0)
    taken_NP = places_NP < lengths_N[:, None]
    sequences, numbers = taken_NP.nonzero(as_tuple=True)
    rows = starts_N[sequences] + (taken_NP.cumsum(1) - 1)[sequences, numbers]
    return dataclasses.replace(view, positions=view.positions.index_copy(0, rows, numbers.to(view.positions.dtype)))
