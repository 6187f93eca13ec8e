"""The raw text of one micro-batch: document pieces of many samples, laid one after another.

Everything in corruption works on these flat arrays at once; no loop runs over samples or pieces.

Shape suffixes: T raw tokens, P pieces, B samples, S spans.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from pipeline.corruption.philox import Key, UInt32Array
from pipeline.corruption.sampling import Int64Array, Purpose, offsets_of, unit_bits


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


class GivenSample(NamedTuple):
    """A sample that comes from no dataset: a text to inspect, or a test's."""

    position: int
    tokens: npt.NDArray[np.integer]
    piece_offsets: npt.NDArray[np.integer]


@dataclass(frozen=True)
class Pieces:
    """The pieces of a micro-batch; piece p is tokens[offsets[p]:offsets[p + 1]] of sample samples[p]."""

    tokens: Int64Array  # [T]
    offsets: Int64Array  # [P + 1]
    samples: Int64Array  # [P], index into positions, ascending
    sample_offsets: Int64Array  # [B + 1], boundaries of the samples in tokens
    positions: Int64Array  # [B], the run's positions

    @functools.cached_property
    def lengths(self) -> Int64Array:
        """Tokens of each piece, [P]."""
        return np.diff(self.offsets)

    def bits(self, key: Key, purpose: Purpose) -> UInt32Array:
        """32 random bits for each raw token, [T] uint32: a function of its sample's position and its place there."""
        return unit_bits(key, self.positions, np.diff(self.sample_offsets), purpose)


def gather_pieces(samples: Sequence[SampleLike]) -> Pieces:
    """Lay the windows of `samples` one after another."""
    sample_offsets = offsets_of([len(sample.tokens) for sample in samples])
    stops = [sample.piece_offsets[1:] for sample in samples]
    num_pieces = [len(stop) for stop in stops]
    offsets = np.zeros(sum(num_pieces) + 1, np.int64)
    offsets[1:] = np.concatenate(stops) + np.repeat(sample_offsets[:-1], num_pieces)
    return Pieces(
        tokens=np.concatenate([sample.tokens for sample in samples]).astype(np.int64),
        offsets=offsets,
        samples=np.repeat(np.arange(len(samples)), num_pieces),
        sample_offsets=sample_offsets,
        positions=np.array([sample.position for sample in samples], np.int64),
    )
