"""Pairs: a text cut in two at a sentence, as [CLS] A [SEP] B [SEP] with token types, and a question about the two.

`order`: are they in their order, or swapped? (Sentence order prediction; Lan et al. 2020, ALBERT, section 3.1.)
`next`: does B follow A, or is it from another document? (Next sentence prediction; Devlin et al. 2019, section 3.1.)

The cut is one of the text's sentence starts, drawn; a text of one sentence stays whole and asks nothing.

1. cut      the drawn sentence start of each piece, and a coin; before anything is selected
2. replace  (`next`) what follows the cut, by text of another document (next_sentence.py)
3. arrange  when the text is masked: each sequence as five runs of the in-place view: cls, first, sep, second, sep. Both
            halves keep their rows, so labels go with them.

Shape suffixes: P pieces, R rows of the new view.
"""

from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from data_prep.section import Section
from pipeline.batch import IGNORED_LABEL, Batch
from pipeline.corruption.philox import Key
from pipeline.corruption.pieces import Cuts, Pieces
from pipeline.corruption.reorder import SENTENCES
from pipeline.corruption.sampling import (
    Int64Array,
    Purpose,
    happens,
    in_range,
    indices_within,
    offsets_of,
    padded,
    threshold,
)
from pipeline.corruption.select_units import marked_units

SECOND_RUN = 3  # from this run of a pair on, rows are of token type 1


class SentenceOrder(Section):
    """Two consecutive segments of a text; a share of `swapped` of the pairs has the second one first."""

    kind: Literal["order"] = "order"
    swapped: float = Field(default=0.5, gt=0.0, lt=1.0)

    @property
    def chance(self) -> float:
        """The share of pairs that are not as the text is."""
        return self.swapped


class NextSentence(Section):
    """Two consecutive segments of a text; in a share of `random` of the pairs the second is another document's."""

    kind: Literal["next"] = "next"
    random: float = Field(default=0.5, gt=0.0, lt=1.0)

    @property
    def chance(self) -> float:
        """The share of pairs that are not as the text is."""
        return self.random


Pairs = Annotated[SentenceOrder | NextSentence, Field(discriminator="kind")]


def draw_cuts(config: SentenceOrder | NextSentence, pieces: Pieces, key: Key) -> Cuts:
    """One sentence start of each piece but its first, by its first token's bits; one coin, by its second token's."""
    units = marked_units(pieces, SENTENCES)
    first_P, second_P = (np.minimum(pieces.offsets[:-1] + n, max(len(pieces.tokens) - 1, 0)) for n in (0, 1))
    bits_T = pieces.bits(key, Purpose.ORDER)
    chances = np.maximum(np.diff(units.offsets) - 1, 0)
    chosen = units.offsets[:-1] + 1 + in_range(bits_T[first_P], chances)
    starts = np.append(units.starts, 0)[np.minimum(chosen, len(units.starts))]
    before = np.where(chances > 0, starts - pieces.offsets[:-1], 0)
    changed = happens(bits_T[second_P], threshold(config.chance)) & (before > 0)
    return Cuts(before, changed, swaps=config.kind == "order")


def as_pairs(view: Batch, pieces: Pieces, pad: int) -> Batch:
    """The in-place `view` (with its ends) of `pieces`, cut, in as many rows; `pair_labels` is 1 where the pair is not
    as the text is, else 0.

    Positions and rows of the sample count anew.
    """
    assert pieces.cuts is not None, "drawn when the text was gathered"
    cuts = pieces.cuts
    source, runs, offsets = _arranged(view, pieces, cuts)
    cut = cuts.before > 0
    num_samples, num_rows = len(pieces.positions), len(source)
    size, max_pieces = len(view.tokens), (len(view.cu_seqlens) - 1) // num_samples
    cu_seqlens = np.full(num_samples * max_pieces + 1, num_rows, np.int32)
    cu_seqlens[: len(offsets)] = offsets
    sample_offsets = offsets[np.searchsorted(pieces.samples, np.arange(num_samples + 1))]
    pair_labels = np.full(num_samples * max_pieces, IGNORED_LABEL, np.int32)
    pair_labels[: len(cut)][cut] = cuts.changed[cut]
    assert view.labels is not None, "an in-place view has labels"
    types = (runs >= SECOND_RUN) & np.repeat(cut, np.diff(offsets))
    return Batch(
        tokens=padded(view.tokens[source], size, pad),
        positions=padded(indices_within(offsets), size, 0),
        cu_seqlens=cu_seqlens,
        sample_rows=padded(indices_within(sample_offsets), size, 0),
        sample_positions=padded(np.repeat(pieces.positions, np.diff(sample_offsets)), size, -1, np.int64),
        labels=padded(view.labels[source], size, IGNORED_LABEL),
        token_types=padded(types, size, 0),
        pair_labels=pair_labels,
    )


def _arranged(view: Batch, pieces: Pieces, cuts: Cuts) -> tuple[Int64Array, Int64Array, Int64Array]:
    """For each new row the row of `view` it is [R] and its run [R], and the boundaries of the sequences [P + 1]."""
    begins = view.cu_seqlens[: len(pieces.lengths)].astype(np.int64)
    lengths, text = pieces.lengths, begins + 1
    one, end = np.minimum(lengths, 1), begins + 1 + lengths
    halves = np.stack([text, text + cuts.before])
    sizes = np.stack([cuts.before, lengths - cuts.before])
    order = np.where(cuts.changed & cuts.swaps, [[1], [0]], [[0], [1]])
    (first, second), (first_size, second_size) = (np.take_along_axis(values, order, 0) for values in (halves, sizes))
    starts = np.stack([begins, first, end, second, end], axis=1)
    counts = np.stack([one, first_size, one * (cuts.before > 0), second_size, one], axis=1)
    row_offsets = offsets_of(counts.reshape(-1))
    source = np.repeat(starts.reshape(-1), counts.reshape(-1)) + indices_within(row_offsets)
    runs = np.repeat(np.tile(np.arange(counts.shape[1]), len(lengths)), counts.reshape(-1))
    return source, runs, row_offsets[:: counts.shape[1]]
