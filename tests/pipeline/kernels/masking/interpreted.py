"""Masking on a device, on the CPU by Triton's interpreter: a program of its own, since Triton asks once, at import.

    TRITON_INTERPRET=1 python -m tests.pipeline.kernels.masking.interpreted SAMPLES_EACH STEP NUM_LONG

compares every STEPth combination of select, replace and layout with the C++ kernel (with the reference where there is
no compiler), on so many samples each, and LONG on the first NUM_LONG of pieces of 8,192, 8,191 and 0 tokens. It prints
how many pieces agreed.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np
import torch

from pipeline.batch import Views
from pipeline.corruption.corruption import Corruption
from pipeline.corruption.pieces import GivenSample, gather_pieces
from pipeline.kernels import masking
from pipeline.kernels.masking import device
from pipeline.kernels.masking.device_text import text_on
from tests.pipeline.kernels.interpreter import interpret_faster
from tests.pipeline.kernels.masking import cases


def assert_same(made: Corruption, samples: list[GivenSample]) -> None:
    """Every array of every view, with its type."""
    pieces = gather_pieces(samples, cases.COLUMNS)
    expected: Views = masking.mask(made._plan, pieces)
    got = device.mask(made._plan, text_on(pieces, torch.device("cpu")))
    assert list(got) == list(expected)
    for name, view in expected.items():
        cases.assert_equal_views(view.to("cpu"), got[name], f"{made.config} {name}")


def compare(samples_each: int, step: int) -> int:
    """Pieces that agreed."""
    rng, count = np.random.default_rng(1), 0
    for made in cases.corruptions(cases.WINDOW, cases.MAX_PIECES, step):
        samples = [cases.random_sample(rng, cases.WINDOW) for _ in range(samples_each)]
        assert_same(made, samples)
        count += sum(len(sample.piece_offsets) - 1 for sample in samples)
    return count


def compare_long(num_long: int) -> int:
    """Pieces that agreed."""
    for select, replace, layout in cases.LONG:
        made = cases.long_corruption(select, replace, layout)
        assert_same(made, cases.long_samples()[:num_long])
    return num_long * len(cases.LONG)


def main() -> None:
    torch.set_num_threads(1)
    interpret_faster()
    samples_each, step, num_long = map(int, sys.argv[1:])
    with tempfile.TemporaryDirectory() as folder:
        cases.save_similar_table(Path(folder))
        sys.stdout.write(f"{compare(samples_each, step) + compare_long(num_long)}\n")


if __name__ == "__main__":
    main()
