"""Select spans of drawn lengths: Poisson (BART), geometric (SpanBERT), and one span that is the rest (prefix LM).

Poisson and geometric lengths are drawn one by one until the tokens to hide are used up:

1. lengths    the piece's i-th span has the length that the bits of its i-th token fall on in an integer table
2. budget     spans are taken until exactly round(length * noise_density) tokens are hidden; the last one is cut to fit
3. places     the spans, in that order, go into different gaps of the remaining text: every choice of gaps is alike

So two spans never touch, and the number of hidden tokens is exact. The number of spans has a bound, 4 standard
deviations above its mean and never more than gaps; the last span allowed takes all that is left to hide.
"""

from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from pipeline.corruption.philox import Key
from pipeline.corruption.pieces import Pieces
from pipeline.corruption.sampling import Int64Array, Purpose, in_range, indices_within, offsets_of, smallest_k
from pipeline.corruption.select import Budget, Selection, SelectRule
from pipeline.corruption.tables import geometric_table, look_up_length, poisson_table


class _DrawnSpans(SelectRule):
    noise_density: float = Field(default=0.15, ge=0.0, le=1.0)

    table: ClassVar[Any]  # a property of each kind: the cumulative length table

    @property
    def mean(self) -> float:
        """The mean of the drawn lengths."""
        return float((1.0 - self.table[:-1] / 2**32).sum())

    def budget(self, window: int) -> Budget:
        """Exact tokens and the most spans, for pieces of 0..window tokens."""
        lengths = np.arange(window + 1)
        noise = np.rint(lengths * self.noise_density).astype(np.int64)
        if self.noise_density > 0.0:
            noise[2:] = np.maximum(noise[2:], 1)
        expected = noise / self.mean
        spans = np.ceil(expected + 4.0 * np.sqrt(expected)).astype(np.int64) + 1
        spans = np.where(noise > 0, np.minimum(spans, lengths - noise + 1), 0)
        return Budget(fewest_tokens=noise, most_tokens=noise, most_spans=spans)

    def choose(self, pieces: Pieces, budget: Budget, key: Key) -> Selection:
        """Draw lengths, then places."""
        lengths, num_spans = self._lengths(pieces, budget, key)
        gaps = np.where(num_spans > 0, pieces.lengths - budget.most_tokens[pieces.lengths] + 1, 0)
        segments = offsets_of(np.stack([gaps, pieces.lengths - gaps], axis=1).reshape(-1))
        wanted = np.stack([num_spans, np.zeros_like(num_spans)], axis=1).reshape(-1)
        gap_starts = np.flatnonzero(smallest_k(pieces.bits(key, Purpose.SELECT), segments, wanted))
        offsets = offsets_of(num_spans)
        hidden_before = offsets_of(lengths)
        starts = gap_starts + hidden_before[:-1] - np.repeat(hidden_before[offsets[:-1]], num_spans)
        return Selection(starts, starts + lengths, offsets)

    def _lengths(self, pieces: Pieces, budget: Budget, key: Key) -> tuple[Int64Array, Int64Array]:
        """The lengths of all pieces' spans [S], and the number of spans of each piece [P]."""
        noise, most = budget.most_tokens[pieces.lengths], budget.most_spans[pieces.lengths]
        offsets = offsets_of(most)
        rank = indices_within(offsets)
        bits = pieces.bits(key, Purpose.LENGTH)[np.repeat(pieces.offsets[:-1], most) + rank]
        drawn = look_up_length(bits, self.table)
        total = offsets_of(drawn)
        left = np.repeat(noise, most) - (total[:-1] - np.repeat(total[offsets[:-1]], most))
        lengths = np.where(rank == np.repeat(most, most) - 1, left, np.minimum(drawn, left))
        taken = left > 0
        return lengths[taken], np.diff(offsets_of(taken)[offsets])


class PoissonSpans(_DrawnSpans):
    """Span lengths from Poisson(`mean_span_length`), 0 among them: an empty span is a place where something is put in.

    Lewis et al. 2020 (BART), section 2.2: mean 3; 30 % of the tokens are masked in the paper's models.
    """

    kind: Literal["poisson_spans"] = "poisson_spans"
    noise_density: float = Field(default=0.3, ge=0.0, le=1.0)
    mean_span_length: float = Field(default=3.0, gt=0.0, le=100.0)

    @property
    def table(self) -> Int64Array:
        """Cumulative Poisson lengths."""
        return poisson_table(self.mean_span_length)


class GeometricSpans(_DrawnSpans):
    """Span lengths from a geometric distribution, cut at `longest` (Joshi et al. 2020, SpanBERT, section 3.1)."""

    kind: Literal["geometric_spans"] = "geometric_spans"
    success: float = Field(default=0.2, gt=0.0, le=1.0)
    longest: int = Field(default=10, ge=1)

    @property
    def table(self) -> Int64Array:
        """Cumulative geometric lengths."""
        return geometric_table(self.success, self.longest)


class Suffix(SelectRule):
    """Prefix language modelling: one span from a place drawn uniformly to the end; at least one token stays before it.

    Raffel et al. 2020, section 3.2.1; UL2's S-denoising (Tay et al. 2022, section 3.1). A piece of one token has
    nothing to spare: no span.
    """

    kind: Literal["suffix"] = "suffix"

    def budget(self, window: int) -> Budget:
        """One span of 1 to all but one tokens, for pieces of 0..window tokens."""
        most = np.maximum(np.arange(window + 1) - 1, 0)
        one = np.minimum(most, 1)
        return Budget(fewest_tokens=one, most_tokens=most, most_spans=one)

    def choose(self, pieces: Pieces, budget: Budget, key: Key) -> Selection:
        """Split each piece by the bits of its first token."""
        split = pieces.lengths > 1
        firsts, stops = pieces.offsets[:-1][split], pieces.offsets[1:][split]
        kept = 1 + in_range(pieces.bits(key, Purpose.SELECT)[firsts], stops - firsts - 1)
        return Selection(firsts + kept, stops, offsets_of(split))
