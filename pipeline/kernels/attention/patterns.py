"""Who sees whom, in O(T) numbers.

Query i has two half-open intervals over the ranks of the keys of its own sequence. Key j is visible when

    a_start[i] <= rank[j] < a_stop[i],  or
    b_start[i] <= rank[j] < b_stop[i]  and, if asked, rank[j] != query_rank[i]  and, if asked, a random test passes

Ranks and intervals are relative to the sequence; a key's rank is its index in its sequence unless given. Rows of the
tail have empty intervals. Every known pattern is this rule: full, causal, prefix, window, a slot plus a window (SEED),
a slot plus random others but not itself (RetroMAE's enhanced decoding), two streams (MPNet).
"""

from dataclasses import dataclass, replace

import torch

from pipeline.corruption.philox import Key
from pipeline.kernels.philox import draws_of_16_bits, probability_threshold


@dataclass(frozen=True)
class Keep:
    """A random test on interval B: key number j of the sequence passes for a query with probability `rate`.

    Draw j is 16 bits, eight to a Philox block (`draws_of_16_bits`), so the rate is rounded to a multiple of 2**-16.
    """

    rate: float
    key: Key
    sample_rows: torch.Tensor  # [Tq]
    sample_positions: torch.Tensor  # [Tq]

    @property
    def threshold(self) -> int:
        """A draw below it passes, 0 .. 2**16."""
        return probability_threshold(self.rate, bits=16)


@dataclass(frozen=True)
class IntervalPattern:
    """The rule above for Tq queries and Tk keys. All arrays are integer tensors on the device of q and k."""

    key_ranks: torch.Tensor  # [Tk]
    a_start: torch.Tensor  # [Tq]
    a_stop: torch.Tensor  # [Tq]
    b_start: torch.Tensor | None = None  # [Tq]
    b_stop: torch.Tensor | None = None  # [Tq]
    query_ranks: torch.Tensor | None = None  # [Tq]; given: interval B does not show a query the key of its own rank
    keep: Keep | None = None
    shows_all: bool = False  # every query sees every key of its sequence: an implementation may skip the tests

    @classmethod
    def full(
        cls, cu_seqlens_q: torch.Tensor, num_queries: int, cu_seqlens_k: torch.Tensor, num_keys: int
    ) -> "IntervalPattern":
        """Every query sees every key of its sequence (encoders; cross-attention)."""
        lengths = _spread(cu_seqlens_k.diff(), cu_seqlens_q, num_queries)
        ranks = row_indices(cu_seqlens_k, num_keys)
        return cls(ranks, torch.zeros_like(lengths), lengths, shows_all=True)

    @classmethod
    def causal(cls, cu_seqlens: torch.Tensor, num_rows: int) -> "IntervalPattern":
        """A row sees itself and the rows before it."""
        ranks = row_indices(cu_seqlens, num_rows)
        return cls(ranks, torch.zeros_like(ranks), ranks + 1)

    @classmethod
    def prefix(cls, cu_seqlens: torch.Tensor, num_rows: int, prefix_lengths: torch.Tensor) -> "IntervalPattern":
        """Causal, but the first prefix_lengths[n] rows of sequence n are seen by all its rows."""
        ranks = row_indices(cu_seqlens, num_rows)
        prefixes = _spread(prefix_lengths, cu_seqlens, num_rows)
        stops = torch.where(ranks >= 0, torch.maximum(prefixes, ranks + 1), 0)
        return cls(ranks, torch.zeros_like(ranks), stops)

    @classmethod
    def window(
        cls, cu_seqlens: torch.Tensor, num_rows: int, before: int, after: int = 0, slot: bool = False
    ) -> "IntervalPattern":
        """A row sees `before` rows before it, itself, `after` rows after it; with `slot` also its sequence's row 0."""
        ranks = row_indices(cu_seqlens, num_rows)
        slot_stops = torch.where(ranks >= 0, int(slot), 0).to(ranks.dtype)
        starts, stops = ranks - before, torch.where(ranks >= 0, ranks + after + 1, ranks - before)
        return cls(ranks, torch.zeros_like(ranks), slot_stops, starts, stops)

    @classmethod
    def slot_and_others(cls, cu_seqlens: torch.Tensor, num_rows: int, keep: Keep | None) -> "IntervalPattern":
        """A row always sees row 0, never itself otherwise, and of the others those that pass the keep test."""
        pattern = cls.window(cu_seqlens, num_rows, before=0, slot=True)
        lengths = _spread(cu_seqlens.diff(), cu_seqlens, num_rows)
        zeros = torch.zeros_like(lengths)
        return replace(pattern, b_start=zeros, b_stop=lengths, query_ranks=pattern.key_ranks, keep=keep)

    def of_rows(self, queries: torch.Tensor, keys: torch.Tensor | None = None) -> "IntervalPattern":
        """The pattern of these queries and keys (None: all) alone: ranks and intervals stay what they were.

        The draws of `keep` count the keys that are left.
        """
        keep = self.keep and replace(
            self.keep,
            sample_rows=self.keep.sample_rows[queries],
            sample_positions=self.keep.sample_positions[queries],
        )
        names = ("a_start", "a_stop", "b_start", "b_stop", "query_ranks")
        arrays = {name: x[queries] for name in names if (x := getattr(self, name)) is not None}
        key_ranks = self.key_ranks if keys is None else self.key_ranks[keys]
        return replace(self, key_ranks=key_ranks, keep=keep, **arrays)

    def visible(self, queries: slice, keys: slice) -> torch.Tensor:
        """The dense mask of one sequence, bool [Lq, Lk]: the specification the fused kernels are tested against."""
        ranks = self.key_ranks[keys]
        seen = _inside(ranks, self.a_start[queries], self.a_stop[queries])
        if self.b_start is None or self.b_stop is None:
            return seen
        seen_b = _inside(ranks, self.b_start[queries], self.b_stop[queries])
        if self.query_ranks is not None:
            seen_b &= ranks != self.query_ranks[queries, None]
        if self.keep is not None:
            seen_b &= _kept(self.keep, queries, len(ranks))
        return seen | seen_b


def row_indices(cu_seqlens: torch.Tensor, num_rows: int) -> torch.Tensor:
    """int32 [num_rows]: each row's index within its sequence; -1 in the tail."""
    rows = torch.arange(num_rows, device=cu_seqlens.device, dtype=torch.int32)
    return torch.where(rows < cu_seqlens[-1], rows - _spread(cu_seqlens[:-1], cu_seqlens, num_rows), -1).to(torch.int32)


def _spread(values_N: torch.Tensor, cu_seqlens: torch.Tensor, num_rows: int) -> torch.Tensor:
    """int32 [num_rows]: each row gets its sequence's value, rows of the tail 0."""
    rows = torch.arange(num_rows, device=cu_seqlens.device, dtype=cu_seqlens.dtype)
    sequences = torch.searchsorted(cu_seqlens[1:].contiguous(), rows, right=True)
    padded = torch.cat([values_N.to(torch.int32), values_N.new_zeros(1, dtype=torch.int32)])
    return padded[sequences]


def _inside(ranks_K: torch.Tensor, start_Q: torch.Tensor, stop_Q: torch.Tensor) -> torch.Tensor:
    return (ranks_K >= start_Q[:, None]) & (ranks_K < stop_Q[:, None])


def _kept(keep: Keep, queries: slice, num_keys: int) -> torch.Tensor:
    bits = draws_of_16_bits(keep.key, keep.sample_positions[queries], keep.sample_rows[queries], num_keys)
    return bits < keep.threshold
