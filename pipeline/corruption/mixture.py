"""A mixture of corruptions: each sample gets one part, drawn by weight (UL2's denoisers, UniXcoder's modes).

Invariant: which part a sample gets, and all that part draws, is a function of (config, seed, position) alone.

1. draw     a part for each position, or for each step
2. corrupt  the samples of each part, in one call for each part
3. mark     the part's mode token before every sequence; the views of a stack one after another
4. order    the sequences as the samples stand, padded to the largest part's shape

Shape suffixes: B samples, P pieces, R rows, G segments that make up a sequence.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from data_prep.tokenizer.special import SpecialTokens
from pipeline.batch import IGNORED_LABEL, Batch, MicroBatch, Views
from pipeline.corruption.config import CorruptionConfig, MixturePart
from pipeline.corruption.layout import DECODER, ENCODER, PieceRows
from pipeline.corruption.padding import padded_view
from pipeline.corruption.philox import random_bits, stream_key
from pipeline.corruption.pieces import Pieces, SampleLike
from pipeline.corruption.sampling import Int64Array, indices_within, offsets_of, threshold


class Maker(Protocol):
    """A part, bound to its stream (pipeline.corruption.corruption.Corruption)."""

    def apply(self, samples: Sequence[SampleLike]) -> MicroBatch:
        """The part's own views."""


@dataclass(frozen=True)
class _Sequences:
    """One view of some pieces; all [R] but `lengths` [P]."""

    lengths: Int64Array
    tokens: Int64Array
    labels: Int64Array
    positions: Int64Array
    types: Int64Array

    def taken(self, rows: Int64Array, lengths: Int64Array) -> "_Sequences":
        """These rows, as sequences of these lengths."""
        return _Sequences(lengths, *(getattr(self, field.name)[rows] for field in fields(self)[1:]))


class StepNumbers(NamedTuple):
    """Which step a sample belongs to: `samples` make one, and step number `step` begins at `position`."""

    samples: int
    position: int = 0
    step: int = 0

    def of(self, positions: Int64Array) -> Int64Array:
        """The step of each sample at `positions`."""
        return self.step + (positions - self.position) // self.samples


EACH_ITS_OWN = StepNumbers(1)


class Mixture:
    """The parts of a mixture, and the stream that chooses among them."""

    def __init__(
        self, config: CorruptionConfig, makers: Sequence[Maker], special: SpecialTokens, max_rows: Mapping[str, int],
        max_pieces: int, seed: int, name: str, steps: StepNumbers,
    ) -> None:  # fmt: skip
        self.parts, self.makers, self.special = config.mixture, tuple(makers), special
        self.max_rows, self.max_pieces = max_rows, max_pieces
        self._draws = steps if config.mixture_per == "step" else EACH_ITS_OWN
        self._key = stream_key(seed, f"{name}/mixture")
        shares = np.cumsum([part.weight for part in self.parts])
        self._bounds = np.array([threshold(float(share / shares[-1])) for share in shares], np.int64)

    def choose(self, positions: Int64Array) -> Int64Array:
        """The number of the part that the samples at `positions` [B] get, [B]."""
        bits = random_bits(self._key, self._draws.of(positions), 0, 0).astype(np.int64)
        return np.searchsorted(self._bounds, bits, side="right")

    def views(self, samples: Sequence[SampleLike], pieces: Pieces) -> Views:
        """The views of B samples, of which `pieces` are the texts, with static shapes."""
        chosen = self.choose(pieces.positions)
        numbers = np.flatnonzero(np.bincount(chosen, minlength=len(self.parts)))
        made = []
        for number in numbers.tolist():
            own = [samples[index] for index in np.flatnonzero(chosen == number).tolist()]
            num_pieces = sum(len(sample.piece_offsets) - 1 for sample in own)
            made.append(_marked(self.parts[number], self.makers[number].apply(own).views, num_pieces, self.special))
        # The pieces stand part after part, in each part as the samples do: where each belongs.
        order = np.argsort(np.argsort(chosen[pieces.samples], kind="stable"), kind="stable")
        return {
            view: padded_view(
                self._in_order(view, [views[view] for views in made], order), pieces, self.special.pad, rows,
                self.max_pieces,
            )
            for view, rows in self.max_rows.items()
        }  # fmt: skip

    def _in_order(self, view: str, parts: Sequence[_Sequences], order: Int64Array) -> PieceRows:
        whole = _joined(parts)
        starts = offsets_of(whole.lengths)[:-1]
        rows = whole.taken(_rows_of(starts[order], whole.lengths[order]), whole.lengths[order])
        has_labels = view == DECODER or DECODER not in self.max_rows
        stacked = any(part.stack is not None for part in self.parts)
        return PieceRows(
            rows.tokens,
            offsets_of(rows.lengths),
            labels=rows.labels if has_labels else None,
            positions=rows.positions,
            token_types=rows.types if stacked else None,
        )


def _marked(part: MixturePart, views: Views, num_pieces: int, special: SpecialTokens) -> dict[str, _Sequences]:
    """The part's views as its mode and stack have them."""
    sequences = {name: _sequences(view, num_pieces, token_type=0) for name, view in views.items()}
    if part.stack is not None:
        stack = [_sequences(views[name], num_pieces, token_type=int(name == DECODER)) for name in part.stack]
        sequences = {ENCODER: _end_to_end(stack)}
    if part.mode is not None:
        text = sequences[ENCODER]
        ones = np.minimum(text.lengths, 1)
        zeros = np.zeros(ones.sum(), np.int64)
        mode = _Sequences(ones, zeros + special.spares[part.mode], zeros + IGNORED_LABEL, zeros, zeros)
        sequences[ENCODER] = _end_to_end([mode, text])
    return sequences


def _sequences(view: Batch, num_pieces: int, token_type: int) -> _Sequences:
    num_rows = view.num_rows
    tokens = view.tokens[:num_rows].astype(np.int64)
    labels = np.full(num_rows, IGNORED_LABEL) if view.labels is None else view.labels[:num_rows].astype(np.int64)
    lengths = np.diff(view.cu_seqlens[: num_pieces + 1]).astype(np.int64)
    return _Sequences(lengths, tokens, labels, view.positions[:num_rows].astype(np.int64), tokens * 0 + token_type)


def _end_to_end(segments: Sequence[_Sequences]) -> _Sequences:
    """Sequence p is that of the first segment, then that of the second, ...; places go on counting."""
    lengths_GP = np.stack([segment.lengths for segment in segments])
    before_GP = np.cumsum(lengths_GP, axis=0) - lengths_GP
    whole = _joined(segments)
    places = whole.positions + np.repeat(before_GP.reshape(-1), lengths_GP.reshape(-1))
    starts_GP = offsets_of(lengths_GP.reshape(-1))[:-1].reshape(lengths_GP.shape)
    rows = _rows_of(starts_GP.T.reshape(-1), lengths_GP.T.reshape(-1))
    return _Sequences(whole.lengths, whole.tokens, whole.labels, places, whole.types).taken(
        rows, lengths_GP.sum(axis=0)
    )


def _joined(parts: Sequence[_Sequences]) -> _Sequences:
    return _Sequences(*(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(_Sequences)))


def _rows_of(starts: Int64Array, lengths: Int64Array) -> npt.NDArray[np.int64]:
    """The indices of runs with these starts and lengths, one run after another."""
    return np.repeat(starts, lengths) + indices_within(offsets_of(lengths))
