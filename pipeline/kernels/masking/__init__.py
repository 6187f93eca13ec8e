"""Masking: a whole micro-batch of raw pieces becomes padded views in one call.

`reference.py` (NumPy) is the specification; `cpu.cpp` gives the same bits, and runs wherever it can be built.
"""

from pipeline.batch import Views
from pipeline.corruption.pieces import Pieces
from pipeline.kernels.masking import cpu, reference
from pipeline.kernels.masking.plan import MaskingPlan


def mask(plan: MaskingPlan, pieces: Pieces) -> Views:
    """The views of the samples in `pieces`, with static shapes."""
    return reference.mask(plan, pieces) if cpu.library() is None else cpu.mask(plan, pieces)
