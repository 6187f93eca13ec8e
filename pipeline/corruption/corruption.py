"""Samples in, views out: the micro-batch one forward reads, with static shapes.

Invariant: a sample's rows in every view depend on (config, seed, position, its tokens) alone, never on the samples
beside it.

Stages
1. gather   the windows' pieces into flat arrays                    (pieces.py)
2. select   spans of each piece                                     (select.py)
3. replace  each span by other tokens                               (replace.py)
4. lay out  one sequence per piece and view                         (layout.py)
5. pad      to B * max_rows rows and B * max_pieces sequences        (here)
"""

from collections.abc import Sequence

import numpy as np

from data_prep.tokenizer.special import SpecialTokens
from pipeline.batch import IGNORED_LABEL, Batch, MicroBatch
from pipeline.corruption.config import CorruptionConfig
from pipeline.corruption.layout import PieceRows
from pipeline.corruption.philox import stream_key
from pipeline.corruption.pieces import Pieces, SampleLike, gather_pieces
from pipeline.corruption.sampling import Int64Array, indices_within


class Corruption:
    """A corruption bound to its stream: apply() is pure, and the object can be sent to worker processes."""

    def __init__(
        self,
        config: CorruptionConfig,
        special: SpecialTokens,
        vocab_size: int,
        window: int,
        max_pieces: int,
        seed: int,
        name: str = "corruption",
    ) -> None:
        """Raise InputError if the combination cannot work.

        `window` and `max_pieces` bound a sample's tokens and pieces; `name` is the random stream (give the held-out
        stream its own).
        """
        config.check(window, max_pieces, len(special.sentinels))
        assert max(special.all) < vocab_size, "the special tokens do not belong to this vocabulary"
        self.config, self.special, self.vocab_size = config, special, vocab_size
        self.window, self.max_pieces = window, max_pieces
        self.max_rows = config.max_rows(window, max_pieces)
        self._budget = config.select.budget(window)
        self._key = stream_key(seed, name)

    def apply(self, samples: Sequence[SampleLike]) -> MicroBatch:
        """The views of B samples: T = B * max_rows[view] rows and N = B * max_pieces sequences in each view."""
        pieces = gather_pieces(samples)
        self._assert_fits(pieces)
        selection = self.config.select.choose(pieces, self._budget, self._key)
        replacement = self.config.replace.fill(selection, self.special)
        views = self.config.layout.lay_out(pieces, selection, replacement, self.special)
        return MicroBatch({name: self._pad(name, rows, pieces) for name, rows in views.items()}, pieces.positions)

    def _assert_fits(self, pieces: Pieces) -> None:
        """Static shapes rest on these bounds; the stream promises them."""
        assert np.diff(pieces.sample_offsets).max(initial=0) <= self.window, "a sample is longer than the window"
        counts = np.bincount(pieces.samples, minlength=len(pieces.positions))
        assert counts.max(initial=0) <= self.max_pieces, "a sample has more than max_pieces pieces"

    def _pad(self, name: str, rows: PieceRows, pieces: Pieces) -> Batch:
        num_samples, num_rows = len(pieces.positions), len(rows.tokens)
        size = num_samples * self.max_rows[name]
        cu_seqlens = np.full(num_samples * self.max_pieces + 1, num_rows, np.int32)
        cu_seqlens[: len(rows.offsets)] = rows.offsets
        first_pieces = np.searchsorted(pieces.samples, np.arange(num_samples + 1))
        sample_offsets = rows.offsets[first_pieces]
        return Batch(
            tokens=_padded(rows.tokens, size, self.special.pad),
            positions=_padded(indices_within(rows.offsets), size, 0),
            cu_seqlens=cu_seqlens,
            sample_rows=_padded(indices_within(sample_offsets), size, 0),
            sample_positions=_padded(np.repeat(pieces.positions, np.diff(sample_offsets)), size, -1),
            labels=None if rows.labels is None else _padded(rows.labels, size, IGNORED_LABEL),
        )


def _padded(values: Int64Array, size: int, filler: int) -> Int64Array:
    padded = np.full(size, filler, np.int64)
    padded[: len(values)] = values
    return padded
