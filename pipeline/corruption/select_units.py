"""Select units that the dataset marks: whole words, n-grams of words, given spans (identifiers, elements, ...).

1. units    a piece is cut before every mark; what the cut of a window left of a unit is a unit
2. keys     a unit has the bits of its first token
3. choice   by one of three rules (`draw`)
              tokens   units in the order of (key, index), each that still fits into round(length * rate) tokens
              units    exactly round(units * rate) units, those of the smallest (key, index)
              each     every unit with probability `rate`

Every chosen unit is one span, so neighbours may touch. Shape suffix: U units of all pieces.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from pydantic import Field, field_validator

from pipeline.corruption.philox import Key
from pipeline.corruption.pieces import Pieces
from pipeline.corruption.sampling import (
    BoolArray,
    Int64Array,
    Purpose,
    happens,
    offsets_of,
    order_by_key,
    smallest_k,
    threshold,
)
from pipeline.corruption.select import Budget, Selection, SelectRule
from pipeline.corruption.select_tokens import rounded_share
from pipeline.corruption.tables import look_up_length
from pipeline.token_columns import CONTINUES, OUTSIDE, SPANS, WantedColumn

Draw = Literal["tokens", "units", "each"]


@dataclass(frozen=True)
class Units:
    """Unit u is tokens[starts[u]:stops[u]]; offsets[p]:offsets[p + 1] are those of piece p."""

    starts: Int64Array  # [U]
    stops: Int64Array  # [U]
    offsets: Int64Array  # [P + 1]

    def only(self, wanted: BoolArray) -> "Units":
        """The units for which `wanted` [U] is true."""
        return Units(self.starts[wanted], self.stops[wanted], offsets_of(wanted)[self.offsets])


def marked_units(pieces: Pieces, column: str) -> Units:
    """The units of every piece by the marks of `column`; tokens outside of all spans belong to none."""
    marks = pieces.columns[column]
    cuts = marks != CONTINUES
    cuts[pieces.offsets[:-1][pieces.lengths > 0]] = True
    starts = np.flatnonzero(cuts)
    units = Units(starts, np.append(starts, len(marks))[1:], offsets_of(cuts)[pieces.offsets])
    return units.only(marks[starts] != OUTSIDE)


class UnitRule(SelectRule):
    """What all rules share that choose among marked units."""

    rate: float = Field(default=0.15, ge=0.0, le=1.0)

    @property
    def marks(self) -> str:
        """The column that marks the units."""
        raise NotImplementedError

    @property
    def how(self) -> Draw:
        """The rule of choice."""
        return "tokens"

    @property
    def columns(self) -> tuple[WantedColumn, ...]:
        """The marks."""
        return (WantedColumn(self.marks),)

    def budget(self, window: int) -> Budget:
        """At most round(length * rate) tokens where tokens are counted, else anything up to all."""
        lengths = np.arange(window + 1)
        none = np.zeros_like(lengths)
        most = none if self.rate == 0.0 else rounded_share(lengths, self.rate) if self.how == "tokens" else lengths
        return Budget(fewest_tokens=none, most_tokens=most, most_spans=most, no_empty_spans=True)

    def units(self, pieces: Pieces, key: Key) -> Units:
        """What is chosen among."""
        return marked_units(pieces, self.marks)

    def wanted(self, num_units: Int64Array) -> Int64Array:
        """How many units are taken of so many, where units are counted."""
        return rounded_share(num_units, self.rate)

    def choose(self, pieces: Pieces, budget: Budget, key: Key) -> Selection:
        """Cut into units, and choose."""
        units = self.units(pieces, key)
        keys = pieces.bits(key, Purpose.SELECT)[units.starts]
        if self.how == "each":
            chosen = happens(keys, threshold(self.rate))
        elif self.how == "units":
            chosen = smallest_k(keys, units.offsets, self.wanted(np.diff(units.offsets)))
        else:
            chosen = _fitting(order_by_key(keys, units.offsets), units, budget.most_tokens[pieces.lengths])
        taken = units.only(chosen)
        return Selection(taken.starts, taken.stops, taken.offsets)


class WholeWords(UnitRule):
    """Words, all tokens of a word or none (BERT's and RoBERTa's whole-word masking). `column: ngrams` takes the
    correlated n-grams of PMI-masking (Levine et al. 2021) instead, `column: sents` sentences.
    """

    kind: Literal["whole_words"] = "whole_words"
    column: Literal["words", "ngrams", "sents"] = "words"
    draw: Draw = "tokens"

    @property
    def marks(self) -> str:
        """The column that marks the units."""
        return self.column

    @property
    def how(self) -> Draw:
        """The rule of choice."""
        return self.draw


class NGrams(UnitRule):
    """Runs of whole words, cut off the text from the left: `shares[n - 1]` of them have n words (the last of a piece
    may be shorter). They are chosen like words, as many as fit (Cui et al. 2020, MacBERT, section 3.2).
    """

    kind: Literal["ngrams"] = "ngrams"
    shares: tuple[float, ...] = Field(default=(0.4, 0.3, 0.2, 0.1), min_length=1, max_length=16)

    @field_validator("shares")
    @classmethod
    def _shares_are_a_whole(cls, shares: tuple[float, ...]) -> tuple[float, ...]:
        if min(shares) < 0.0 or abs(sum(shares) - 1.0) > 1e-6:
            raise ValueError("shares must be at least 0 and add up to 1, as [0.4, 0.3, 0.2, 0.1] do")
        return shares

    @property
    def marks(self) -> str:
        """Words."""
        return "words"

    @property
    def table(self) -> Int64Array:
        """Cumulative number of words, entry 0 being none (never drawn)."""
        return np.array([0, *(threshold(min(sum(self.shares[: n + 1]), 1.0)) for n in range(len(self.shares)))])

    def units(self, pieces: Pieces, key: Key) -> Units:
        """Words, joined to runs of drawn lengths."""
        words = marked_units(pieces, self.marks)
        lengths = look_up_length(pieces.bits(key, Purpose.LENGTH)[words.starts], self.table).tolist()
        begins = np.zeros(len(words.starts), np.bool_)
        for first, stop in zip(words.offsets[:-1].tolist(), words.offsets[1:].tolist(), strict=True):
            while first < stop:
                begins[first] = True
                first += lengths[first]
        runs = words.only(begins)
        ends = np.zeros_like(runs.stops)
        ends[:-1] = runs.starts[1:]
        last = runs.offsets[1:][np.diff(runs.offsets) > 0] - 1
        ends[last] = pieces.offsets[1:][np.diff(runs.offsets) > 0]
        return Units(runs.starts, ends, runs.offsets)


class GivenSpans(UnitRule):
    """Spans that the preparation found, of these `kinds` (all if empty): round(spans * rate) of them, at most
    `max_spans`. A span that a window cuts counts on either side with the part it has there.
    """

    kind: Literal["given_spans"] = "given_spans"
    kinds: tuple[str, ...] = ()
    rate: float = Field(default=0.5, ge=0.0, le=1.0)
    max_spans: int = Field(default=100, ge=1)

    @property
    def marks(self) -> str:
        """Spans as marks."""
        return SPANS

    @property
    def how(self) -> Draw:
        """A share of the spans."""
        return "units"

    @property
    def columns(self) -> tuple[WantedColumn, ...]:
        """The spans of the wanted kinds."""
        return (WantedColumn(SPANS, self.kinds),)

    def budget(self, window: int) -> Budget:
        """Any number of tokens, in at most `max_spans` spans."""
        whole = super().budget(window)
        spans = np.minimum(whole.most_spans, self.max_spans)
        return Budget(whole.fewest_tokens, whole.most_tokens, spans, no_empty_spans=True)

    def wanted(self, num_units: Int64Array) -> Int64Array:
        """A share, up to the limit."""
        return np.minimum(super().wanted(num_units), self.max_spans)


def _fitting(order: Int64Array, units: Units, room: Int64Array) -> BoolArray:
    """The units that still fit, taken in `order`, into `room` [P] tokens of their piece: [U] bool."""
    chosen = np.zeros(len(units.starts), np.bool_)
    lengths = (units.stops - units.starts).tolist()
    for piece, left in enumerate(room.tolist()):
        for unit in order[units.offsets[piece] : units.offsets[piece + 1]].tolist():
            if left == 0:
                break
            if lengths[unit] <= left:
                chosen[unit] = True
                left -= lengths[unit]
    return chosen
