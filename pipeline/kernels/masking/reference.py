"""The specification of masking: raw pieces in, padded views out, in NumPy.

0. reorder  the sentences of each piece, if asked for              (pipeline/corruption/reorder.py)
1. select   spans of each piece                                     (pipeline/corruption/select*.py)
2. replace  each span by other tokens                               (pipeline/corruption/replace.py)
3. lay out  one sequence per piece and view                         (pipeline/corruption/layout.py)
4. pad      to B * max_rows rows and B * max_pieces sequences        (here)
"""

import dataclasses

import numpy as np
import numpy.typing as npt

from pipeline.batch import IGNORED_LABEL, Batch, Views
from pipeline.corruption.layout import PieceRows
from pipeline.corruption.pieces import Pieces
from pipeline.corruption.reorder import reordered
from pipeline.corruption.replace import Draws
from pipeline.corruption.sampling import Int64Array, indices_within
from pipeline.kernels.masking.plan import MaskingPlan


def mask(plan: MaskingPlan, pieces: Pieces) -> Views:
    """The views of B samples: T = B * max_rows[view] rows and N = B * max_pieces sequences in each view."""
    config, special = plan.config, plan.special
    pieces = dataclasses.replace(pieces, tokens=pieces.tokens.astype(np.int64))
    if plan.reorders:
        pieces = reordered(pieces, plan.key)
    selection = config.select.choose(pieces, plan.budget, plan.key)
    replacement = config.replace.fill(selection, special, Draws(pieces, plan.key, plan.ordinary, plan.similar))
    views = config.layout.lay_out(pieces, selection, replacement, special)
    return {name: _pad(plan, rows, pieces, plan.max_rows[name]) for name, rows in views.items()}


def _pad(plan: MaskingPlan, rows: PieceRows, pieces: Pieces, max_rows: int) -> Batch:
    num_samples, num_rows = len(pieces.positions), len(rows.tokens)
    size = num_samples * max_rows
    cu_seqlens = np.full(num_samples * plan.max_pieces + 1, num_rows, np.int32)
    cu_seqlens[: len(rows.offsets)] = rows.offsets
    first_pieces = np.searchsorted(pieces.samples, np.arange(num_samples + 1))
    sample_offsets = rows.offsets[first_pieces]
    return Batch(
        tokens=_padded(rows.tokens, size, plan.special.pad),
        positions=_padded(indices_within(rows.offsets) if rows.positions is None else rows.positions, size, 0),
        cu_seqlens=cu_seqlens,
        sample_rows=_padded(indices_within(sample_offsets), size, 0),
        sample_positions=_padded(np.repeat(pieces.positions, np.diff(sample_offsets)), size, -1, np.int64),
        labels=None if rows.labels is None else _padded(rows.labels, size, IGNORED_LABEL),
    )


def _padded(values: Int64Array, size: int, filler: int, dtype: npt.DTypeLike = np.int32) -> npt.NDArray[np.integer]:
    padded = np.full(size, filler, dtype)
    padded[: len(values)] = values
    return padded
