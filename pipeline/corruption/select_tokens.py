"""Select single tokens. Every selected token is a span of its own.

Each at a rate, exactly so many, so many by importance, or the tail of a permutation.
"""

from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from pipeline.corruption.philox import Key
from pipeline.corruption.pieces import Pieces
from pipeline.corruption.sampling import (
    BoolArray,
    Int64Array,
    Purpose,
    happens,
    indices_within,
    offsets_of,
    order_by_key,
    smallest_k,
    threshold,
)
from pipeline.corruption.select import Budget, Selection, SelectRule
from pipeline.corruption.tables import weighted_keys
from pipeline.token_columns import WantedColumn

WEIGHT = "weight"


class EachToken(SelectRule):
    """Every token is selected with probability `rate`, whatever happens to the others."""

    kind: Literal["each_token"] = "each_token"
    rate: float = Field(default=0.15, ge=0.0, le=1.0)

    def budget(self, window: int) -> Budget:
        """Anything from no token to all of them (at rates 0 and 1: exactly that)."""
        lengths = np.arange(window + 1)
        none = np.zeros_like(lengths)
        fewest, most = (lengths if self.rate == 1.0 else none), (none if self.rate == 0.0 else lengths)
        return Budget(fewest_tokens=fewest, most_tokens=most, most_spans=most, no_empty_spans=True)

    def choose(self, pieces: Pieces, budget: Budget, key: Key) -> Selection:
        """The tokens whose bits are below the rate."""
        return _single_tokens(happens(pieces.bits(key, Purpose.SELECT), threshold(self.rate)), pieces)


class _FixedNumber(SelectRule):
    rate: float = Field(default=0.15, ge=0.0, le=1.0)

    def budget(self, window: int) -> Budget:
        """Exact counts for pieces of 0..window tokens."""
        count = rounded_share(np.arange(window + 1), self.rate)
        return Budget(fewest_tokens=count, most_tokens=count, most_spans=count, no_empty_spans=True)


class ExactlyK(_FixedNumber):
    """Exactly round(length * rate) tokens of each piece (halves to even), at least one of two; all subsets alike."""

    kind: Literal["exactly_k"] = "exactly_k"

    def choose(self, pieces: Pieces, budget: Budget, key: Key) -> Selection:
        """The tokens with the smallest (bits, index) of each piece."""
        wanted = budget.most_tokens[pieces.lengths]
        return _single_tokens(smallest_k(pieces.bits(key, Purpose.SELECT), pieces.offsets, wanted), pieces)


class Weighted(_FixedNumber):
    """As many tokens as exactly_k takes, drawn without replacement by their `weight`: important ones more often.

    One draw takes a token with probability weight / sum of the weights left (Efraimidis and Spirakis 2006).
    """

    kind: Literal["weighted"] = "weighted"

    @property
    def columns(self) -> tuple[WantedColumn, ...]:
        """The importance of each token."""
        return (WantedColumn(WEIGHT),)

    def choose(self, pieces: Pieces, budget: Budget, key: Key) -> Selection:
        """The tokens with the smallest (weighted key, index) of each piece."""
        keys = weighted_keys(pieces.bits(key, Purpose.SELECT), pieces.columns[WEIGHT])
        return _single_tokens(smallest_k(keys, pieces.offsets, budget.most_tokens[pieces.lengths]), pieces)


class PermutationTail(_FixedNumber):
    """The last tokens of a drawn order of each piece, as many as exactly_k takes (Song et al. 2020, MPNet).

    The order itself goes to layouts that show it (`permuted`).
    """

    kind: Literal["permutation_tail"] = "permutation_tail"

    gives_order: ClassVar[bool] = True

    def choose(self, pieces: Pieces, budget: Budget, key: Key) -> Selection:
        """Order each piece's tokens by (bits, index), and take the last."""
        order = order_by_key(pieces.bits(key, Purpose.SELECT), pieces.offsets)
        kept = pieces.lengths - budget.most_tokens[pieces.lengths]
        chosen = np.zeros(len(pieces.tokens), np.bool_)
        chosen[order[indices_within(pieces.offsets) >= np.repeat(kept, pieces.lengths)]] = True
        selected = _single_tokens(chosen, pieces)
        return Selection(selected.starts, selected.stops, selected.offsets, order)


def rounded_share(counts: Int64Array, rate: float) -> Int64Array:
    """round(count * rate) of each (halves to even), at least 1 of 2 or more unless the rate is 0."""
    shares = np.rint(counts * rate).astype(np.int64)
    return np.where(counts >= 2, np.maximum(shares, 1), shares) if rate > 0.0 else shares


def _single_tokens(chosen: BoolArray, pieces: Pieces) -> Selection:
    starts = np.flatnonzero(chosen)
    before = offsets_of(chosen)
    return Selection(starts, starts + 1, before[pieces.offsets])
