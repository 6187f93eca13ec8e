"""The raw text of one micro-batch: document pieces of many samples, laid one after another.

Everything in corruption works on these flat arrays at once; no loop runs over samples or pieces.

Shape suffixes: T raw tokens, P pieces, B samples, S spans.
"""

import dataclasses
import functools
import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from pipeline.corruption.philox import Key, UInt32Array
from pipeline.corruption.sampling import BoolArray, Int64Array, Purpose, unit_bits


class SampleLike(Protocol):
    """What corruption reads of a sample of the stream: one window of raw tokens, cut in pieces of documents."""

    @property
    def position(self) -> int:
        """The run's position of this sample."""

    @property
    def tokens(self) -> npt.NDArray[np.integer]:
        """[n] raw token ids."""

    @property
    def piece_offsets(self) -> npt.NDArray[np.integer]:
        """[p + 1] boundaries of the pieces in `tokens`; the first is 0, the last n."""

    @property
    def columns(self) -> Mapping[str, npt.NDArray[np.uint8]]:
        """[n] each: what the rules read beside the tokens (pipeline/token_columns.py)."""

    @property
    def other(self) -> "SampleLike | None":
        """A window of other documents, for pairs of two documents (next_sentence.py)."""


@dataclass(frozen=True, eq=False)
class GivenSample:
    """A sample that comes from no dataset: a text to inspect, or a test's."""

    position: int
    tokens: npt.NDArray[np.integer]
    piece_offsets: npt.NDArray[np.integer]
    columns: Mapping[str, npt.NDArray[np.uint8]] = field(default_factory=dict)
    other: "SampleLike | None" = None


@dataclass(frozen=True)
class Cuts:
    """Of each piece: the tokens before its cut (0: it stays whole), and whether the pair is not as the text is."""

    before: Int64Array  # [P]
    changed: BoolArray  # [P]
    swaps: bool  # the change is that the halves are swapped; else what follows the cut was replaced


@dataclass(frozen=True)
class Pieces:
    """The pieces of a micro-batch; piece p is tokens[offsets[p]:offsets[p + 1]] of sample samples[p]."""

    tokens: npt.NDArray[Any]  # [T] of the samples' integer type; int64 in the reference
    offsets: Int64Array  # [P + 1]
    samples: Int64Array  # [P], index into positions, ascending
    sample_offsets: Int64Array  # [B + 1], boundaries of the samples in tokens
    positions: Int64Array  # [B], the run's positions
    columns: Mapping[str, npt.NDArray[np.uint8]] = field(default_factory=dict)  # [T] each
    original: Int64Array | None = None  # [T], the text before it was reordered, if it was
    cuts: Cuts | None = None  # where texts become pairs, if they do

    def only(self, columns: Sequence[str]) -> "Pieces":
        """The same with these columns alone."""
        return dataclasses.replace(self, columns={name: self.columns[name] for name in columns})

    @functools.cached_property
    def lengths(self) -> Int64Array:
        """Tokens of each piece, [P]."""
        return np.diff(self.offsets)

    def bits(self, key: Key, purpose: Purpose) -> UInt32Array:
        """32 random bits for each raw token, [T] uint32: a function of its sample's position and its place there."""
        return unit_bits(key, self.positions, np.diff(self.sample_offsets), purpose)


class SampleRun(Sequence[SampleLike]):
    """Samples whose text is there faster than one by one."""

    def pieces(self, columns: Sequence[str] = ()) -> Pieces:
        """What `gather_pieces` gives of them."""
        raise NotImplementedError


def gather_pieces(samples: Sequence[SampleLike], columns: Sequence[str] = ()) -> Pieces:
    """Lay the windows of `samples` one after another, with these columns of theirs."""
    if isinstance(samples, SampleRun):
        return samples.pieces(columns)
    tokens = [sample.tokens for sample in samples]
    bounds = [sample.piece_offsets for sample in samples]
    sample_offsets = _offsets(map(len, tokens), len(tokens))
    bound_offsets = _offsets(map(len, bounds), len(bounds))
    num_bounds = bound_offsets[1:] - bound_offsets[:-1]
    offsets = np.concatenate(bounds, dtype=np.int64)
    offsets += sample_offsets[:-1].repeat(num_bounds)
    inner = np.ones(len(offsets), np.bool_)
    inner[bound_offsets[1:-1] - 1] = False  # where a sample ends, the next one begins
    return Pieces(
        tokens=np.concatenate(tokens),
        offsets=offsets[inner],
        samples=np.arange(len(samples)).repeat(num_bounds - 1),
        sample_offsets=sample_offsets,
        positions=np.fromiter((sample.position for sample in samples), np.int64, len(samples)),
        columns={name: np.concatenate([sample.columns[name] for sample in samples]) for name in columns},
    )


def _offsets(lengths: Iterable[int], count: int) -> Int64Array:
    """Boundaries [count + 1] of runs with these lengths, as offsets_of gives them, for few of them faster."""
    return np.fromiter(itertools.accumulate(lengths, initial=0), np.int64, count + 1)
