"""Samples in, views out: the micro-batch one forward reads, with static shapes.

Invariant: a sample's rows in every view depend on (config, seed, position, its tokens) alone, never on the samples
beside it.

Stages
1. gather   the windows' pieces into flat arrays                            (pieces.py);
            where they become pairs, draw the cuts                          (pairs.py, next_sentence.py)
2. mask     select, replace, lay out and pad them, all samples in one call  (pipeline/kernels/masking);
            of a mixture, the samples of each part in one call              (mixture.py)
3. segment  positions of two levels, in the views that want them            (segments.py)

`apply` does both. They may be done in two places: loader workers gather, and masking follows on the device.
"""

import dataclasses
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

import numpy as np

from data_prep.errors import InputError
from data_prep.tokenizer.special import SpecialTokens
from pipeline.batch import MicroBatch, Views
from pipeline.corruption.config import CorruptionConfig
from pipeline.corruption.layout import DECODER, ENCODER
from pipeline.corruption.mixture import EACH_ITS_OWN, Mixture, StepNumbers
from pipeline.corruption.next_sentence import with_next
from pipeline.corruption.pairs import NextSentence, SentenceOrder, draw_cuts
from pipeline.corruption.philox import stream_key
from pipeline.corruption.pieces import Pieces, SampleLike, gather_pieces
from pipeline.corruption.reorder import SENTENCES
from pipeline.corruption.replace import TokenByToken, ordinary_tokens
from pipeline.corruption.segments import with_segments
from pipeline.corruption.similar import load_similar, table_digest
from pipeline.kernels import masking
from pipeline.kernels.masking.plan import MaskingPlan

if TYPE_CHECKING:
    import torch

    from pipeline.kernels.masking.device_text import Text


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
        segmented: Collection[str] = (),
        steps: StepNumbers = EACH_ITS_OWN,
    ) -> None:
        """Raise InputError if the combination cannot work.

        `window` and `max_pieces` bound a sample's tokens and pieces; `name` is the random stream (give the held-out
        stream its own). The `segmented` views have positions [T, 2]: the samples need the column of sentences. `steps`
        are for mixtures that draw once for all samples of one.
        """
        config.check(window, max_pieces, len(special.sentinels), bool(segmented))
        assert max(special.all) < vocab_size, "the special tokens do not belong to this vocabulary"
        self.config, self.special, self.vocab_size = config, special, vocab_size
        self.window, self.max_pieces = window, max_pieces
        self.max_rows = config.max_rows(window, max_pieces)
        self._segmented = frozenset(segmented)
        sentences = [SENTENCES] if segmented else []
        self._columns = list(dict.fromkeys([*(wanted.name for wanted in config.columns), *sentences]))
        self._mixture: Mixture | None = None
        self._second: Corruption | None = None
        if config.mixture:
            bound = (special, vocab_size, window, max_pieces, seed)
            self._parts = [Corruption(part.corruption, *bound, f"{name}/{n}") for n, part in enumerate(config.mixture)]
            self._mixture = Mixture(config, self._parts, special, self.max_rows, max_pieces, seed, name, steps)
            return
        self._plan = MaskingPlan(
            config=config,
            special=special,
            ordinary=ordinary_tokens(special, vocab_size),
            similar=load_similar(
                config.replace.table if isinstance(config.replace, TokenByToken) else None, vocab_size
            ),
            budget=config.select.budget(window),
            max_rows={view: rows for view, rows in self.max_rows.items() if view == ENCODER or config.second is None},
            max_pieces=max_pieces,
            key=stream_key(seed, name),
        )
        self._next_key = stream_key(seed, f"{name}/next")
        if config.second:
            own = [ENCODER] if DECODER in segmented else []
            self._second = Corruption(
                config.second, special, vocab_size, window, max_pieces, seed, f"{name}/decoder", own
            )

    @property
    def tables(self) -> list[str]:
        """Digests of the tables of similar tokens in use: all that the masks depend on beyond config and seed."""
        if self._mixture is not None:
            return [table for part in self._parts for table in part.tables]
        own = [table_digest(self._plan.similar)] if self._plan.similar.shape[1] else []
        return own + (self._second.tables if self._second else [])

    def part_at(self, position: int) -> int | None:
        """Which part of a mixture the sample at `position` gets; None without a mixture."""
        return None if self._mixture is None else int(self._mixture.choose(np.array([position], np.int64))[0])

    def apply(self, samples: Sequence[SampleLike]) -> MicroBatch:
        """The views of B samples: T = B * max_rows[view] rows and N = B * max_pieces sequences in each view."""
        pieces = self.gather(samples)
        if self._mixture is not None:
            return MicroBatch(self._mixture.views(samples, pieces), pieces.positions)
        return MicroBatch(self._views(pieces), pieces.positions)

    def gather(self, samples: Sequence[SampleLike]) -> Pieces:
        """The raw text of B samples, and the columns that are read with it."""
        pieces = gather_pieces(samples, self._columns)
        self._assert_fits(pieces)
        return pieces if self.config.pairs is None else self._cut(self.config.pairs, pieces, samples)

    def _cut(self, pairs: SentenceOrder | NextSentence, pieces: Pieces, samples: Sequence[SampleLike]) -> Pieces:
        cuts = draw_cuts(pairs, pieces, self._plan.key)
        if cuts.swaps:
            return dataclasses.replace(pieces, cuts=cuts)
        return with_next(pieces, cuts, samples, self._next_key)

    def mask_on(self, device: "torch.device", pieces: Pieces) -> MicroBatch:
        """What apply gives, as tensors on `device`, masked there."""
        return MicroBatch(self._views(masking.send(pieces, device)), pieces.positions).to(device)

    def check_device(self, device: "torch.device") -> None:
        """InputError unless mask_on works for `device`."""
        what = self.config.loader_only(bool(self._segmented))
        if what is not None:
            raise InputError(f"training.masking: {what} made in the loader only. Use training.masking=loader.")
        masking.check_device(self.config, device)
        if self._second is not None:
            self._second.check_device(device)

    def _views(self, pieces: "Pieces | Text") -> Views:
        views = masking.mask(self._plan, pieces)
        if self._segmented:
            assert isinstance(pieces, Pieces), "check_device refused"
            views = with_segments(views, self._segmented, self._plan, pieces)
        return views if self._second is None else {**views, DECODER: self._second._views(pieces)[ENCODER]}

    def _assert_fits(self, pieces: Pieces) -> None:
        """Static shapes rest on these bounds; the stream promises them."""
        longest = (pieces.sample_offsets[1:] - pieces.sample_offsets[:-1]).max(initial=0)
        assert longest <= self.window, "a sample is longer than the window"
        counts = np.bincount(pieces.samples, minlength=len(pieces.positions))
        assert counts.max(initial=0) <= self.max_pieces, "a sample has more than max_pieces pieces"
