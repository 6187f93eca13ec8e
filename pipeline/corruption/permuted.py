"""The permuted layout: the text in the order that the selection drew, the predicted tokens last (MPNet, XLNet)."""

from typing import ClassVar, Literal

import numpy as np

from data_prep.section import Section
from data_prep.tokenizer.special import SpecialTokens
from pipeline.corruption.layout import ENCODER, PieceRows, end_rows, filled_in, with_ends
from pipeline.corruption.pieces import Pieces
from pipeline.corruption.replace import Replacement
from pipeline.corruption.sampling import Int64Array, indices_within
from pipeline.corruption.select import Budget, Selection


class Permuted(Section):
    """One view: every token at its own position, in the drawn order; labels at the tail, as the rule filled it.

    A model with two streams has all it needs: the tail's content is its labels, its queries are what stands there (Song
    et al. 2020, MPNet, section 2.2). With `ends` the order begins with cls and sep, at the text's two ends.
    """

    kind: Literal["permuted"] = "permuted"
    ends: bool = False

    needs_length: ClassVar[bool] = True
    needs_order: ClassVar[bool] = True

    def rows(self, selected: Budget, filled: Int64Array) -> dict[str, Int64Array]:
        """The rows one piece has, by its length: [W] int64 tables."""
        lengths = np.arange(len(filled))
        return {ENCODER: lengths + end_rows(lengths, self.ends)}

    def targets(self, selected: Budget, filled: Int64Array) -> Int64Array:
        """The most labels one piece has, by its length: [W] int64."""
        return selected.most_tokens

    def lay_out(
        self, pieces: Pieces, selection: Selection, replacement: Replacement, special: SpecialTokens
    ) -> dict[str, PieceRows]:
        """The view of every piece."""
        order = selection.order
        assert order is not None, "the config was checked"
        tokens, labels = filled_in(pieces, selection, replacement)
        positions = indices_within(pieces.offsets)[order]
        rows = PieceRows(tokens[order], pieces.offsets, labels=labels[order], positions=positions)
        return {ENCODER: with_ends(rows, pieces.lengths, special, sep_last=False) if self.ends else rows}
