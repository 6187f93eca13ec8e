"""The row-wise kernels in Triton's interpreter: a program of its own, since Triton asks once, at import.

    TRITON_INTERPRET=1 python -m tests.pipeline.kernels.rows.interpreted

prints one line of JSON per case and dtype: how far results are from the reference in float64, or for dropout whether
they have its bits. float16 stands for bfloat16, to which the interpreter rounds by cutting off.
"""

import json
import sys
from unittest import mock

import torch

from pipeline.kernels import rows
from pipeline.kernels.rows import operator, reference, triton_rows
from tests.pipeline.kernels.interpreter import interpret_faster
from tests.pipeline.kernels.rows.cases import Case, dropout_cases, smooth_cases


def is_small(case: Case) -> bool:
    """The interpreter is slow: a program at a time."""
    return case.grad.numel() <= 5000


def main() -> None:
    torch.set_num_threads(1)
    interpret_faster()
    # The operators' own way, autograd included, with tensors on a CPU.
    with (
        mock.patch.object(operator, "_kernels", return_value=triton_rows),
        mock.patch.object(triton_rows, "_GROUPS", 4),
        mock.patch.object(operator, "fits", lambda *tensors: tensors[0].dtype != torch.float64),
    ):
        for dtype in (torch.float32, torch.float16):
            for case in filter(is_small, smooth_cases()):
                errors = case.errors(rows, reference, dtype)
                sys.stdout.write(json.dumps({"case": case.name, "dtype": str(dtype), "errors": errors}) + "\n")
            for case in filter(is_small, dropout_cases()):
                expected, got = case.results(reference, dtype), case.results(rows, dtype)
                same = all(torch.equal(got[name], x) for name, x in expected.items())
                sys.stdout.write(json.dumps({"case": case.name, "dtype": str(dtype), "same": same}) + "\n")


if __name__ == "__main__":
    main()
