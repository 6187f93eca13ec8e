"""Select single tokens: each at a rate, or exactly so many of a piece. Every selected token is a span of its own."""

from typing import Literal

import numpy as np
from pydantic import Field

from data_prep.section import Section
from pipeline.corruption.philox import Key
from pipeline.corruption.pieces import Pieces
from pipeline.corruption.sampling import BoolArray, Purpose, happens, offsets_of, smallest_k, threshold
from pipeline.corruption.select import Budget, Selection


class EachToken(Section):
    """Every token is selected with probability `rate`, whatever happens to the others."""

    kind: Literal["each_token"] = "each_token"
    rate: float = Field(default=0.15, ge=0.0, le=1.0)

    def budget(self, window: int) -> Budget:
        """Anything from no token to all of them (at rates 0 and 1: exactly that)."""
        lengths = np.arange(window + 1)
        none = np.zeros_like(lengths)
        fewest, most = (lengths if self.rate == 1.0 else none), (none if self.rate == 0.0 else lengths)
        return Budget(fewest_tokens=fewest, most_tokens=most, most_spans=most, one_token_spans=True)

    def choose(self, pieces: Pieces, budget: Budget, key: Key) -> Selection:
        """The tokens whose bits are below the rate."""
        return _single_tokens(happens(pieces.bits(key, Purpose.SELECT), threshold(self.rate)), pieces)


class ExactlyK(Section):
    """Exactly round(length * rate) tokens of each piece (halves to even), at least one of two; all subsets alike."""

    kind: Literal["exactly_k"] = "exactly_k"
    rate: float = Field(default=0.15, ge=0.0, le=1.0)

    def budget(self, window: int) -> Budget:
        """Exact counts for pieces of 0..window tokens."""
        count = np.rint(np.arange(window + 1) * self.rate).astype(np.int64)
        if self.rate > 0.0:
            count[2:] = np.maximum(count[2:], 1)
        return Budget(fewest_tokens=count, most_tokens=count, most_spans=count, one_token_spans=True)

    def choose(self, pieces: Pieces, budget: Budget, key: Key) -> Selection:
        """The tokens with the smallest (bits, index) of each piece."""
        wanted = budget.most_tokens[pieces.lengths]
        return _single_tokens(smallest_k(pieces.bits(key, Purpose.SELECT), pieces.offsets, wanted), pieces)


def _single_tokens(chosen: BoolArray, pieces: Pieces) -> Selection:
    starts = np.flatnonzero(chosen)
    before = offsets_of(chosen)
    return Selection(starts, starts + 1, before[pieces.offsets])
