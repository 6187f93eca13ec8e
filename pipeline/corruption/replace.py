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
from pipeline.corruption.similar import SimilarTable


@dataclass(frozen=True)
class Replacement:
    """Span s is replaced by tokens[offsets[s]:offsets[s + 1]]."""

    tokens: Int64Array  # [F]
    offsets: Int64Array  # [S + 1]


@dataclass(frozen=True)
class Draws:
    """What a rule may draw from: the text, its random stream, the ordinary (not special) tokens, and similar ones."""

    pieces: Pieces
    key: Key
    ordinary: Int64Array  # [V]
    similar: SimilarTable


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
    """Each selected token becomes the mask, a random ordinary token, a similar one, or stays: at `mask`, `random`,
    `similar` and the rest.

    80/10/10 is BERT's (Devlin et al. 2019, section 3.1); `mask: 1, random: 0` masks every selected token. Special
    tokens are never drawn. Similar ones are drawn uniformly from the token's row of `table`, an .npy file of int32
    [vocabulary, m] (MacBERT is similar 0.8, random 0.1; Cui et al. 2020, section 3.2).
    """

    kind: Literal["token_by_token"] = "token_by_token"
    mask: float = Field(default=0.8, ge=0.0, le=1.0)
    random: float = Field(default=0.1, ge=0.0, le=1.0)
    similar: float = Field(default=0.0, ge=0.0, le=1.0)
    table: str | None = None

    keeps_length: ClassVar[bool] = True

    @property
    def thresholds(self) -> tuple[int, int, int]:
        """Bits below the first give the mask; from there to below the second a random token, then a similar one."""
        mask = threshold(self.mask)
        random = min(mask + threshold(self.random), 1 << 32)
        return mask, random, min(random + threshold(self.similar), 1 << 32)

    def budget(self, selected: Budget) -> Int64Array:
        """One token for each selected one, [W] int64."""
        return selected.most_tokens

    def check(self, selected: Budget, num_sentinels: int) -> None:
        """Refuse shares that add up to more than 1, and similar tokens without a table."""
        if self.mask + self.random + self.similar > 1.0 + 1e-9:
            similar = f" and similar {self.similar}" if self.similar else ""
            raise InputError(
                f"corruption.replace: mask {self.mask} and random {self.random}{similar} add up to more than 1. "
                "Lower one."
            )
        if (self.similar > 0.0) != (self.table is not None):
            raise InputError(
                f"corruption.replace: similar is {self.similar} and table is {self.table}. Give a share of similar "
                "tokens and their table (an .npy file), or neither."
            )

    def fill(self, selection: Selection, special: SpecialTokens, draws: Draws) -> Replacement:
        """As many tokens as the span has."""
        offsets = offsets_of(selection.lengths)
        chosen = np.repeat(selection.starts, selection.lengths) + indices_within(offsets)
        pieces, key = draws.pieces, draws.key
        kind, which = (pieces.bits(key, purpose)[chosen] for purpose in (Purpose.REPLACE, Purpose.RANDOM_TOKEN))
        mask, random, similar = self.thresholds
        tokens = pieces.tokens[chosen]
        if self.similar:
            alike = draws.similar[tokens, in_range(which, draws.similar.shape[1])]
            tokens = np.where(happens(kind, similar), alike, tokens)
        drawn = draws.ordinary[in_range(which, len(draws.ordinary))]
        tokens = np.where(happens(kind, random), drawn, tokens)
        return Replacement(np.where(happens(kind, mask), special.mask, tokens), offsets)
