"""Random layerwise token dropping (Yao et al. 2022, "Random-LTD", arXiv:2211.11586) on the flat batch.

While training, each layer of a stack but the first and the last runs on a random part of the rows; the others go around
it unchanged and are back in their places behind it. The kept rows are a shorter flat batch: they keep their positions,
their ranks and their dropout, so that each pattern and bias means what it meant before.

Invariant: what a layer keeps follows from the seed, the stack's name, the layer, the share and the sample alone, not
from ranks or micro-batches. A row's draw of layer l of the middle ones is draw l; of a sample with n rows the
ceil(share * n) with the smallest (draw, row) are kept.

Shape suffixes: T rows, K kept rows, M middle layers, S samples, W width.
"""

from collections.abc import Iterator

import torch
from torch import nn

from pipeline.batch import Batch
from pipeline.corruption.philox import Key
from pipeline.kernels.philox import probability_threshold, random_bits
from pipeline.model.config import middle_layers
from pipeline.model.streams import Drawing

_SHARE_BITS = 16


class TokenDropping(Drawing):
    """What each of a stack's `num_layers` layers keeps; everything, until `kept_share` is less than 1."""

    stream = "random_ltd"

    def __init__(self, num_layers: int) -> None:
        super().__init__()
        self.num_layers, self.kept_share = num_layers, 1.0

    def kept(self, view: Batch) -> list[torch.Tensor | None]:
        """For each layer the rows of `view` that it keeps [K], ascending; None: all."""
        middle = middle_layers(self.num_layers)
        if not self.training or self.kept_share >= 1.0 or not middle:
            return [None] * self.num_layers
        return [None, *kept_rows(view, self.kept_share, self.key, middle), None]


def kept_rows(view: Batch, share: float, key: Key, num_layers: int) -> torch.Tensor:
    """int64 [M, K]: the rows that each of `num_layers` layers keeps, ascending; `share` is rounded to 2**-16.

    A sample's rows lie together in a view, and every layer keeps as many of them.
    """
    positions_T = view.sample_positions
    samples_T = nn.functional.pad((positions_T.diff() != 0).cumsum(0), (1, 0))
    ones_T = (positions_T >= 0).to(torch.int64)  # the tail is of no sample
    lengths_S = torch.zeros_like(samples_T).index_add(0, samples_T, ones_T)
    kept_S = (lengths_S * probability_threshold(share, _SHARE_BITS) + (1 << _SHARE_BITS) - 1) >> _SHARE_BITS
    draws_MT = random_bits(key, positions_T, view.sample_rows, num_layers).t()
    order_MT = ((samples_T << 32) | draws_MT).argsort(dim=1, stable=True)
    # Sorted by sample first: place p of every order is of the sample that row p is of.
    firsts_S = nn.functional.pad(lengths_S.cumsum(0), (1, -1))
    places_T = torch.arange(len(samples_T), device=samples_T.device) - firsts_S[samples_T]
    taken_K = torch.nonzero(places_T < kept_S[samples_T]).squeeze(1)
    return order_MT.index_select(1, taken_K).sort(dim=1).values


def view_of_rows(view: Batch, rows_K: torch.Tensor) -> Batch:
    """The batch of these rows of `view` alone, ascending; it has as many sequences, no tail and no labels."""
    boundaries = torch.searchsorted(rows_K, view.cu_seqlens.to(rows_K.dtype))
    return Batch(
        tokens=view.tokens[rows_K],
        positions=view.positions[rows_K],
        cu_seqlens=boundaries.to(view.cu_seqlens.dtype),
        sample_rows=view.sample_rows[rows_K],
        sample_positions=view.sample_positions[rows_K],
    )


def token_droppings(model: nn.Module) -> Iterator[TokenDropping]:
    """Those of every stack of `model`."""
    return (module for module in model.modules() if isinstance(module, TokenDropping))
