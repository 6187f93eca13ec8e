"""With everything on, a run's losses are those of a plain loop in float64 on the same samples and masks.

Everything: the kernels of attention, norms, gates, dropout and cross entropy, activation checkpointing, loader workers,
gradient accumulation, ZeRO, saves beside training, z-loss, label smoothing. test_resume.py and test_world_sizes.py ask
the same of runs that they make anyway.
"""

from pathlib import Path
from typing import Any

import pytest

from .conftest import run_jobs
from .plain_path import BOUNDS, check_losses

EVERYTHING = {
    "zero_stage": 2, "global_batch": 4, "micro_batch": 1, "activation_checkpointing": True, "steps": 8,
    "sections": {"objective": {"kind": "denoising", "z_loss": 1e-4, "label_smoothing": 0.1}},
    "checkpoint": {"save_every": 4, "background": True},
}  # fmt: skip


@pytest.mark.long
@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("ranks", [1, 2])
def test_losses_with_everything_on_are_those_of_the_plain_path(make_run: Any, tmp_path: Path, ranks: int) -> None:
    runs = [make_run(ranks=ranks, loader_workers=ranks - 1, precision=precision, **EVERYTHING) for precision in BOUNDS]
    run_jobs([{"run_dir": str(run)} for run in runs], ranks, tmp_path)
    for run in runs:
        check_losses(run)
