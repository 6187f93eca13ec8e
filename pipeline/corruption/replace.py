"""Replace: what stands in the corrupted text where a span was. The result is a list of tokens for each span.

Nothing (dropped), one token (a sentinel, one mask), two (a size hint) or as many as were selected (masks, random
tokens): so every layout combines with every replace. A new rule is one more class here, with a `kind`, `budget` and
`fill`.

Shape suffixes: S spans of all pieces, F tokens filled in, W = window + 1 table entries (one per piece length).
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from data_prep.errors import InputError
from data_prep.section import Section
from data_prep.tokenizer.special import SpecialTokens
from pipeline.corruption.philox import Key
from pipeline.corruption.pieces import Pieces
from pipeline.corruption.sampling import Int64Array, Purpose, happens, in_range, indices_within, offsets_of, threshold
from pipeline.corruption.select import Budget, Selection


@dataclass(frozen=True)
class Replacement:
    """Span s is replaced by tokens[offsets[s]:offsets[s + 1]]."""

    tokens: Int64Array  # [F]
    offsets: Int64Array  # [S + 1]


@dataclass(frozen=True)
class Draws:
    """What a rule may draw from: the text, its random stream, and the ids of ordinary (not special) tokens, [V]."""

    pieces: Pieces
    key: Key
    ordinary: Int64Array


def ordinary_tokens(special: SpecialTokens, vocab_size: int) -> Int64Array:
    """Every id of the vocabulary that is not special, ascending."""
    return np.setdiff1d(np.arange(vocab_size), special.all)


class _Rule(Section):
    """What all rules share; most have no limit on the number of spans."""

    keeps_length: ClassVar[bool] = False  # one token for each selected token: what an in-place layout needs

    def check(self, selected: Budget, num_sentinels: int) -> None:
        """Nothing to refuse."""


class SentinelPerSpan(_Rule):
    """The spans of a piece become <extra_id_0>, <extra_id_1>, ... in their order in the text, from 0 in every piece."""

    kind: Literal["sentinel_per_span"] = "sentinel_per_span"

    def budget(self, selected: Budget) -> Int64Array:
        """The most tokens filled in, by the piece's length: one per span, [W] int64."""
        return selected.most_spans

    def check(self, selected: Budget, num_sentinels: int) -> None:
        """Refuse a selection with more spans in one piece than there are sentinels."""
        too_long = np.flatnonzero(selected.most_spans > num_sentinels)
        if len(too_long):
            raise InputError(
                f"corruption.select: a piece of {len(selected.most_spans) - 1} tokens (stream.window) can have "
                f"{selected.most_spans.max()} spans, but the tokenizer has {num_sentinels} sentinels. Use a "
                f"stream.window of at most {too_long[0] - 1}, a longer mean_span_length or a lower noise_density."
            )

    def fill(self, selection: Selection, special: SpecialTokens, draws: Draws) -> Replacement:
        """One sentinel for each span."""
        sentinels = np.array(special.sentinels, np.int64)
        num_spans = len(selection.starts)
        return Replacement(sentinels[indices_within(selection.offsets)], np.arange(num_spans + 1))


class MaskPerSpan(_Rule):
    """Each span becomes one mask, an empty span too (BART's text infilling, Lewis et al. 2020, section 2.2)."""

    kind: Literal["mask_per_span"] = "mask_per_span"

    def budget(self, selected: Budget) -> Int64Array:
        """The most tokens filled in, by the piece's length: one per span, [W] int64."""
        return selected.most_spans

    def fill(self, selection: Selection, special: SpecialTokens, draws: Draws) -> Replacement:
        """One mask for each span."""
        num_spans = len(selection.starts)
        return Replacement(np.full(num_spans, special.mask), np.arange(num_spans + 1))


class Dropped(_Rule):
    """Nothing stands where a span was (BART's token deletion, visible-only encoders)."""

    kind: Literal["dropped"] = "dropped"

    def budget(self, selected: Budget) -> Int64Array:
        """Nothing is filled in: zeros, [W] int64."""
        return np.zeros_like(selected.most_spans)

    def fill(self, selection: Selection, special: SpecialTokens, draws: Draws) -> Replacement:
        """No token for any span."""
        return Replacement(np.empty(0, np.int64), np.zeros(len(selection.starts) + 1, np.int64))


class TokenByToken(_Rule):
    """Each selected token becomes the mask, a random ordinary token, or stays: at `mask`, `random` and the rest.

    80/10/10 is BERT's (Devlin et al. 2019, section 3.1); `mask: 1, random: 0` masks every selected token. Special
    tokens are never drawn.
    """

    kind: Literal["token_by_token"] = "token_by_token"
    mask: float = Field(default=0.8, ge=0.0, le=1.0)
    random: float = Field(default=0.1, ge=0.0, le=1.0)

    keeps_length: ClassVar[bool] = True

    @property
    def thresholds(self) -> tuple[int, int]:
        """Bits below the first give the mask; from there to below the second, a random token."""
        mask = threshold(self.mask)
        return mask, min(mask + threshold(self.random), 1 << 32)

    def budget(self, selected: Budget) -> Int64Array:
        """One token for each selected one, [W] int64."""
        return selected.most_tokens

    def check(self, selected: Budget, num_sentinels: int) -> None:
        """Refuse shares that add up to more than 1."""
        if self.mask + self.random > 1.0 + 1e-9:
            raise InputError(
                f"corruption.replace: mask {self.mask} and random {self.random} add up to more than 1. Lower one."
            )

    def fill(self, selection: Selection, special: SpecialTokens, draws: Draws) -> Replacement:
        """As many tokens as the span has."""
        offsets = offsets_of(selection.lengths)
        chosen = np.repeat(selection.starts, selection.lengths) + indices_within(offsets)
        pieces, key = draws.pieces, draws.key
        kind, which = (pieces.bits(key, purpose)[chosen] for purpose in (Purpose.REPLACE, Purpose.RANDOM_TOKEN))
        mask, random = self.thresholds
        drawn = draws.ordinary[in_range(which, len(draws.ordinary))]
        kept_or_drawn = np.where(happens(kind, random), drawn, pieces.tokens[chosen])
        return Replacement(np.where(happens(kind, mask), special.mask, kept_or_drawn), offsets)
