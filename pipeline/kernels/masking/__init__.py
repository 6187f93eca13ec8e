"""Masking: a whole micro-batch of raw pieces becomes padded views in one call.

`reference.py` (NumPy) is the specification; `cpu.cpp` gives the same bits, and runs wherever it can be built. On a GPU
`device.py` gives them too. Text that is in tensors goes through a torch operator (operator.py), which compiled graphs
can hold.
"""

from typing import TYPE_CHECKING

from data_prep.errors import InputError
from pipeline.batch import Views
from pipeline.corruption.config import CorruptionConfig
from pipeline.corruption.layout import ENCODER
from pipeline.corruption.pairs import as_pairs
from pipeline.corruption.pieces import Pieces
from pipeline.kernels.masking import cpu, reference
from pipeline.kernels.masking.plan import MaskingPlan
from pipeline.kernels.packages import is_installed

if TYPE_CHECKING:
    import torch

    from pipeline.kernels.masking.device_text import Text  # torch and Triton: only where they are needed


def mask(plan: MaskingPlan, pieces: "Pieces | Text") -> Views:
    """The views of the samples in `pieces`, with static shapes, where the pieces are."""
    if isinstance(pieces, Pieces):
        views = reference.mask(plan, pieces) if cpu.library() is None else cpu.mask(plan, pieces)
        if pieces.cuts is not None:
            return {ENCODER: as_pairs(views[ENCODER], pieces, plan.special.pad)}
        return views
    from pipeline.kernels.masking import operator

    return operator.mask(plan, pieces)


def send(pieces: Pieces, device: "torch.device") -> "Pieces | Text":
    """`pieces` where they can be masked: on `device`, or as they are if that is the CPU."""
    if device.type == "cpu":
        return pieces
    from pipeline.kernels.masking.device_text import text_on

    return text_on(pieces, device)


def check_device(config: CorruptionConfig, device: "torch.device") -> None:
    """InputError unless this corruption can be masked on `device`."""
    if device.type == "cpu":
        return
    if not is_installed("triton"):
        raise InputError("training.masking: device needs Triton. Install it (pip install triton), or use loader.")
    from pipeline.kernels.masking.device import LAYOUTS, REPLACES, SELECTS

    for part, known in (("select", SELECTS), ("replace", REPLACES), ("layout", LAYOUTS)):
        if (kind := getattr(config, part).kind) not in known:
            raise InputError(
                f"training.masking: corruption.{part} {kind} is masked in the loader only. Use training.masking=loader."
            )
