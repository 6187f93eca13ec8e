"""Select: which units of each piece are taken out. The result is a list of spans, whatever the rule.

A single token is a span of length 1, an insertion point a span of length 0, a prefix one long span: so every replace
and every layout combines with every select. A new rule is one more class here, with a `kind`, `budget` and `choose`.

Shape suffixes: T raw tokens, P pieces, S spans of all pieces, W = window + 1 table entries (one per piece length).
"""

import functools
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from data_prep.section import Section
from pipeline.corruption.philox import Key
from pipeline.corruption.pieces import Pieces
from pipeline.corruption.sampling import BoolArray, Int64Array, Purpose, indices_within, offsets_of, smallest_k
from pipeline.token_columns import WantedColumn


@dataclass(frozen=True)
class Selection:
    """Spans of raw tokens, ascending and disjoint; span s is tokens[starts[s]:stops[s]] of the piece pieces[s]."""

    starts: Int64Array  # [S], flat index into Pieces.tokens
    stops: Int64Array  # [S], may equal starts
    offsets: Int64Array  # [P + 1], spans of piece p are offsets[p]:offsets[p + 1]
    order: Int64Array | None = None  # [T], the tokens of each piece in a drawn order, of rules that draw one

    @property
    def lengths(self) -> Int64Array:
        """Tokens of each span, [S]."""
        return self.stops - self.starts

    @functools.cached_property
    def pieces(self) -> Int64Array:
        """The piece of each span, [S]."""
        return np.repeat(np.arange(len(self.offsets) - 1), np.diff(self.offsets))

    def mask(self, num_tokens: int) -> BoolArray:
        """Whether each raw token is selected, [T] bool."""
        chosen = np.zeros(num_tokens, np.bool_)
        chosen[np.repeat(self.starts, self.lengths) + indices_within(offsets_of(self.lengths))] = True
        return chosen


@dataclass(frozen=True)
class Budget:
    """What a selection can take from a piece, by the piece's length; layouts derive their bounds from it. [W] int64."""

    fewest_tokens: Int64Array
    most_tokens: Int64Array
    most_spans: Int64Array
    no_empty_spans: bool = False  # every span has a token at least


class SelectRule(Section):
    """What all rules share; most read nothing but tokens and draw no order."""

    gives_order: ClassVar[bool] = False

    @property
    def columns(self) -> tuple[WantedColumn, ...]:
        """The columns of the dataset that the rule reads: at most one."""
        return ()


class T5Spans(SelectRule):
    """Exactly round(length * noise_density) tokens in exactly round(that / mean_span_length) spans of random lengths.

    Raffel et al. 2020, section 3.1.4, as its `random_spans_noise_mask` computes it: both are rounded half to even, at
    least one token and one span are taken and one token is left, and there are no more spans than noise tokens or
    remaining tokens. A piece of one token has nothing to spare: no span.

    edges: t5    T5's own segmentation: spans and gaps alternate, the piece starts with a gap and ends with a span,
                 so its first token is never selected and its last one always is.
    edges: free  one gap more than spans, the outer two possibly empty; every such mask is equally likely.
    """

    kind: Literal["t5_spans"] = "t5_spans"
    noise_density: float = Field(default=0.15, gt=0.0, lt=1.0)
    mean_span_length: float = Field(default=3.0, ge=1.0)
    edges: Literal["t5", "free"] = "t5"

    def budget(self, window: int) -> Budget:
        """Exact counts for pieces of 0..window tokens."""
        lengths = np.arange(window + 1)
        noise = np.minimum(np.maximum(np.rint(lengths * self.noise_density), 1), lengths - 1).astype(np.int64)
        spans = np.maximum(np.rint(noise / self.mean_span_length), 1).astype(np.int64)
        spans = np.minimum(spans, np.minimum(noise, lengths - noise))
        noise[:2] = spans[:2] = 0
        return Budget(fewest_tokens=noise, most_tokens=noise, most_spans=spans)

    def choose(self, pieces: Pieces, budget: Budget, key: Key) -> Selection:
        """Split each piece's noise and its rest into segments of random lengths, and interleave them."""
        noise, spans = budget.most_tokens[pieces.lengths], budget.most_spans[pieces.lengths]
        rest = pieces.lengths - noise
        noise_cuts, rest_cuts = self._cuts(pieces, noise, spans, key)
        offsets = offsets_of(spans)
        rank, spans_S = indices_within(offsets), np.repeat(spans, spans)
        first, last = rank == 0, rank == spans_S - 1
        noise_before, noise_after = np.zeros_like(spans_S), np.repeat(noise, spans)
        noise_before[~first] = noise_after[~last] = noise_cuts + 1
        if self.edges == "free":
            rest_before = rest_cuts
        else:
            rest_before = np.repeat(rest, spans)
            rest_before[~last] = rest_cuts + 1
        starts = np.repeat(pieces.offsets[:-1], spans) + noise_before + rest_before
        return Selection(starts, starts + noise_after - noise_before, offsets)

    def _cuts(self, pieces: Pieces, noise: Int64Array, spans: Int64Array, key: Key) -> tuple[Int64Array, Int64Array]:
        """Where each piece's noise [P], and where the rest, is cut: candidates from 0, ascending, piece after piece.

        Candidates lie between two neighbouring tokens; with free edges also before the first and after the last of the
        rest. The units of a piece stand for the candidates of the noise, then those of the rest.
        """
        free = self.edges == "free"
        between_noise = np.where(spans > 0, noise - 1, 0)
        between_rest = np.where(spans > 0, pieces.lengths - noise + (1 if free else -1), 0)
        unused = pieces.lengths - between_noise - between_rest
        inner = np.maximum(spans - 1, 0)
        wanted = np.stack([inner, spans if free else inner, np.zeros_like(spans)], axis=1).reshape(-1)
        segments = offsets_of(np.stack([between_noise, between_rest, unused], axis=1).reshape(-1))
        cuts = np.flatnonzero(smallest_k(pieces.bits(key, Purpose.SELECT), segments, wanted))
        cuts -= np.repeat(segments[:-1], wanted)
        of_noise = np.repeat(np.tile([True, False, False], len(spans)), wanted)
        return cuts[of_noise], cuts[~of_noise]
