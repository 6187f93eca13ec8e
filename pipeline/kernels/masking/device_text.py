"""The raw text of a micro-batch on a device, and the operations on runs of it that selections and layouts are made of.

Everything is int64 tensors of fixed sizes: no operation waits for the device. Sums over a piece are differences of sums
over everything, so a piece is never a loop.

Shape suffixes: T raw tokens, P pieces, B samples. G gaps: a piece of n tokens has n + 1, before each token and at its
end; token t of piece p comes after gap t + p.
"""

import functools
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

from pipeline.corruption.pieces import Pieces


@dataclass(frozen=True)
class Text:
    """As `pipeline.corruption.pieces.Pieces`, in torch; `longest_sample` is known without asking the device."""

    tokens: torch.Tensor  # [T]
    offsets: torch.Tensor  # [P + 1]
    samples: torch.Tensor  # [P]
    sample_offsets: torch.Tensor  # [B + 1]
    positions: torch.Tensor  # [B]
    columns: Mapping[str, torch.Tensor]  # [T] each
    longest_sample: int

    @property
    def num_pieces(self) -> int:
        """P."""
        return len(self.samples)

    @functools.cached_property
    def lengths(self) -> torch.Tensor:
        """Tokens of each piece, [P]."""
        return self.offsets.diff()

    @functools.cached_property
    def piece(self) -> torch.Tensor:
        """The piece of each token, [T]."""
        numbers = torch.arange(self.num_pieces, device=self.tokens.device)
        return numbers.repeat_interleave(self.lengths, output_size=len(self.tokens))

    @functools.cached_property
    def index(self) -> torch.Tensor:
        """Each token's index in its piece, [T]."""
        return torch.arange(len(self.tokens), device=self.tokens.device) - self.start

    @functools.cached_property
    def start(self) -> torch.Tensor:
        """The first token of each token's piece, [T]."""
        return self.offsets[self.piece]

    @functools.cached_property
    def gap(self) -> torch.Tensor:
        """The gap before each token, [T]."""
        return torch.arange(len(self.tokens), device=self.tokens.device) + self.piece

    @functools.cached_property
    def gap_offsets(self) -> torch.Tensor:
        """The first gap of each piece, [P + 1]."""
        return self.offsets + torch.arange(self.num_pieces + 1, device=self.tokens.device)

    @functools.cached_property
    def gap_piece(self) -> torch.Tensor:
        """The piece of each gap, [G]."""
        numbers = torch.arange(self.num_pieces, device=self.tokens.device)
        return numbers.repeat_interleave(self.lengths + 1, output_size=self.num_gaps)

    @functools.cached_property
    def gap_index(self) -> torch.Tensor:
        """Each gap's index in its piece, [G]."""
        return torch.arange(self.num_gaps, device=self.tokens.device) - self.gap_offsets[self.gap_piece]

    @property
    def num_gaps(self) -> int:
        """G."""
        return len(self.tokens) + self.num_pieces

    def zeros(self, size: int) -> torch.Tensor:
        """[size]."""
        return torch.zeros(size, dtype=torch.int64, device=self.tokens.device)


def text_on(pieces: Pieces, device: torch.device) -> Text:
    """Send `pieces` to `device`: tokens in their own type, from pinned memory, so that the host does not wait."""
    longest = int(np.diff(pieces.sample_offsets).max(initial=0))

    def sent(values: np.ndarray) -> torch.Tensor:
        if values.dtype == np.uint32:
            values = values.view(np.int32)  # ids are below 2**31
        tensor = torch.from_numpy(np.ascontiguousarray(values))
        if device.type == "cuda":
            tensor = tensor.pin_memory()
        return tensor.to(device, non_blocking=True).to(torch.int64)

    return Text(
        tokens=sent(pieces.tokens),
        offsets=sent(pieces.offsets),
        samples=sent(pieces.samples),
        sample_offsets=sent(pieces.sample_offsets),
        positions=sent(pieces.positions),
        columns={name: sent(values) for name, values in pieces.columns.items()},
        longest_sample=longest,
    )


def sums_before(values: torch.Tensor, starts: torch.Tensor) -> torch.Tensor:
    """For each element of `values` [n], the sum of those before it from place `starts` [n] on."""
    before = exclusive_sums(values)
    return before[:-1] - before[starts]


def exclusive_sums(values: torch.Tensor) -> torch.Tensor:
    """[n + 1]: the sum of the first i of `values` [n]."""
    sums = values.new_zeros(len(values) + 1, dtype=torch.int64)
    torch.cumsum(values, 0, out=sums[1:])
    return sums


def last_marked(marks: torch.Tensor) -> torch.Tensor:
    """For each place the last one up to it where `marks` [n] is true; 0 where there is none."""
    places = torch.arange(len(marks), device=marks.device)
    return torch.cummax(torch.where(marks, places, 0), 0).values


def next_marked(marks: torch.Tensor) -> torch.Tensor:
    """For each place the first one after it where `marks` [n] is true; n where there is none."""
    places = torch.arange(len(marks), device=marks.device)
    marked = torch.where(marks, places, len(marks))
    following = torch.cummin(marked.flip(0), 0).values.flip(0)
    return torch.cat([following[1:], following.new_full((min(len(marks), 1),), len(marks))])


def put(size: int, filler: int, places: torch.Tensor, values: torch.Tensor | int, where: torch.Tensor) -> torch.Tensor:
    """[size] of `filler`, with `values` at `places` where `where` is true."""
    made = torch.full((size + 1,), filler, dtype=torch.int64, device=places.device)
    return put_into(made, places, values, where)[:-1]


def put_into(made: torch.Tensor, places: torch.Tensor, values: torch.Tensor | int, where: torch.Tensor) -> torch.Tensor:
    """Write `values` into `made` [size + 1], whose last element takes those that are not wanted; returns it."""
    values = values if isinstance(values, torch.Tensor) else torch.full_like(places, values)
    return made.scatter_(0, torch.where(where, places, len(made) - 1), values)


def order_by_key(keys: torch.Tensor, segments: torch.Tensor) -> torch.Tensor:
    """The elements by (segment, key, index), [n]; keys are below 2**33, segments ascend."""
    return torch.sort((segments << 33) | keys, stable=True).indices


def smallest_k(keys: torch.Tensor, segments: torch.Tensor, firsts: torch.Tensor, k: torch.Tensor) -> torch.Tensor:
    """bool [n]: which are among the k with the smallest (key, index) of their segment.

    `segments`, the place `firsts` where it begins and `k` are given for each element, [n].
    """
    ranks = torch.arange(len(keys), device=keys.device) - firsts
    return torch.zeros_like(keys, dtype=torch.bool).scatter_(0, order_by_key(keys, segments), ranks < k)
