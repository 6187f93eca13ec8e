"""The specification of masking: raw pieces in, padded views out, in NumPy.

0. reorder  the sentences of each piece, if asked for              (pipeline/corruption/reorder.py)
1. select   spans of each piece                                     (pipeline/corruption/select*.py)
2. replace  each span by other tokens                               (pipeline/corruption/replace.py)
3. lay out  one sequence per piece and view                         (pipeline/corruption/layout.py)
4. pad      to B * max_rows rows and B * max_pieces sequences        (pipeline/corruption/padding.py)
"""

import dataclasses

import numpy as np

from pipeline.batch import Views
from pipeline.corruption.padding import padded_view
from pipeline.corruption.pieces import Pieces
from pipeline.corruption.reorder import reordered
from pipeline.corruption.replace import Draws
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
    return {
        name: padded_view(rows, pieces, special.pad, plan.max_rows[name], plan.max_pieces)
        for name, rows in views.items()
    }
