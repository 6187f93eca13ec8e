"""The row-wise kernels in Triton without a GPU: run by the interpreter, compiled for three architectures."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import triton
from triton.compiler import ASTSource

from pipeline.kernels import rows
from pipeline.kernels.fusion import APART, FUSED
from pipeline.kernels.rows import reference, triton_rows
from tests.pipeline.kernels.gpu import TARGETS, interpreted, needs_gpu, spills
from tests.pipeline.kernels.rows.cases import BOUNDS, dropout_cases, smooth_cases


def test_the_interpreted_kernels_agree_with_the_reference() -> None:
    lines = [json.loads(line) for line in interpreted("tests.pipeline.kernels.rows.interpreted").splitlines()]
    assert len([line for line in lines if "errors" in line]) == len([line for line in lines if "same" in line]) == 20
    for line in lines:
        assert line.get("same", True), f"{line['case']} in {line['dtype']} has other bits"
        for name, error in line.get("errors", {}).items():
            bound = BOUNDS[getattr(torch, line["dtype"].removeprefix("torch."))]
            assert error <= bound, f"{line['case']}: {name} in {line['dtype']} is {error:.2g} off"


BFLOATS = ("x", "residual", "out", "gate", "up", "grad", "grad_gate", "grad_up", "weight", "grad_x")
TYPES = dict.fromkeys(BFLOATS, "*bf16") | {"rows": "*i64", "positions": "*i64", "inverse": "*fp32", "shares": "*fp32"}
TYPES |= {"scale": "fp32", "epsilon": "fp32"}
CONSTANTS = {"ROWS": triton_rows._ROWS, "DRAWS": triton_rows._DRAWS, "STRETCH": triton_rows._STRETCH, "WIDTH": 1024}
KERNELS = ("_add_dropout", "_gated_gelu", "_gated_gelu_backward", "_rms_norm", "_rms_norm_backward")


@pytest.mark.parametrize(
    "architecture", ["sm_90", *(pytest.param(name, marks=pytest.mark.long) for name in ("sm_80", "gfx942"))]
)
def test_they_compile_without_spills(architecture: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    for name in KERNELS:
        kernel: Any = getattr(triton_rows, name)
        names = kernel.arg_names
        signature = {arg: "constexpr" if arg in CONSTANTS else TYPES.get(arg, "i32") for arg in names}
        values = {(place,): CONSTANTS[arg] for place, arg in enumerate(names) if arg in CONSTANTS}
        aligned = {(names.index(arg),): [["tt.divisibility", 16]] for arg in names if signature[arg][0] == "*"}
        source, options = ASTSource(kernel, signature, values, aligned), APART if name == "_add_dropout" else FUSED
        code = triton.compile(source, target=TARGETS[architecture], options=options)
        assert spills(code, tmp_path) == 0, name


@needs_gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_on_a_gpu_they_agree_with_the_reference(dtype: torch.dtype) -> None:
    for case in smooth_cases("cuda"):
        for name, error in case.errors(rows, reference, dtype).items():
            assert error <= BOUNDS[dtype], f"{case.name}: {name} is {error:.2g} off"
    for case in dropout_cases("cuda"):
        expected, got = case.results(reference, dtype), case.results(rows, dtype)
        assert all(torch.equal(got[name], x) for name, x in expected.items()), case.name
