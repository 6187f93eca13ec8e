"""The row-wise kernels in C++ against their reference."""

import pytest
import torch

from pipeline.kernels import rows
from pipeline.kernels.rows import cpu, operator, reference
from tests.pipeline.kernels.rows.cases import BOUNDS, Case, drop_of, dropout_cases, smooth_cases

pytestmark = pytest.mark.usefixtures("one_thread")

needs_compiler = pytest.mark.skipif(not cpu.is_available(), reason="no C++ compiler")
DTYPES = [torch.float32, torch.bfloat16]


@needs_compiler
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", list(smooth_cases()), ids=lambda case: case.name)
def test_norm_and_gate_agree_with_float64_within_rounding(case: Case, dtype: torch.dtype) -> None:
    for name, error in case.errors(rows, reference, dtype).items():
        assert error <= BOUNDS[dtype], f"{name} is {error:.2g} off"


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", list(dropout_cases()), ids=lambda case: case.name)
def test_dropout_and_its_gradients_have_the_references_bits(case: Case, dtype: torch.dtype) -> None:
    expected = case.results(reference, dtype)
    for name, got in case.results(rows, dtype).items():
        assert torch.equal(got, expected[name]), name
        assert torch.equal(got.signbit(), expected[name].signbit()), name


@needs_compiler
@pytest.mark.parametrize("dtype", DTYPES)
def test_bits_are_the_same_for_any_number_of_threads(dtype: torch.dtype) -> None:
    cases = [case for case in (*smooth_cases(), *dropout_cases()) if len(case.grad) == 700]
    alone = [case.results(rows, dtype) for case in cases]
    for threads in (2, 3):
        torch.set_num_threads(threads)
        for case, expected in zip(cases, alone, strict=True):
            for name, got in case.results(rows, dtype).items():
                assert torch.equal(got, expected[name]), f"{case.name}: {name}"


@needs_compiler
def test_the_gate_is_exact_far_out_and_passes_nan_on() -> None:
    gate = torch.tensor([[1e4, -1e4, 0.0, torch.nan, 30.0, -30.0]])
    got = rows.gated_gelu(gate, torch.full_like(gate, 2.0))
    assert got[0, [0, 1, 2, 4]].tolist() == [2e4, 0.0, 0.0, 60.0]
    assert got[0, 3].isnan()
    assert abs(float(got[0, 5])) < 1e-30


def test_what_no_kernel_fits_is_computed_by_the_reference() -> None:
    x = torch.randn(4, 8, dtype=torch.float64)
    assert not operator.fits(x)
    assert not operator.fits(x.float(), x.bfloat16())
    assert torch.equal(rows.rms_norm(x, x[0], 1e-6), reference.rms_norm(x, x[0], 1e-6))


@needs_compiler
def test_rows_that_are_not_contiguous_are_taken_as_they_are() -> None:
    x = torch.randn(8, 4).t()
    expected = reference.rms_norm(x.contiguous(), torch.ones(8), 1e-6)
    torch.testing.assert_close(rows.rms_norm(x, torch.ones(8), 1e-6), expected)


@needs_compiler
def test_the_operators_are_ones_that_torch_compile_can_trace() -> None:
    x, y = (torch.randn(6, 16).requires_grad_() for _ in range(2))
    drop = drop_of(6, 0.25)
    names = drop.sample_rows.long(), drop.sample_positions
    checks = ("test_schema", "test_faketensor", "test_autograd_registration")
    torch.library.opcheck(
        torch.ops.spanwright.add_dropout, (x, y, *names, [*drop.key, 2**30], 4 / 3), test_utils=checks
    )
    torch.library.opcheck(torch.ops.spanwright.gated_gelu, (x, y), test_utils=checks)
    torch.library.opcheck(torch.ops.spanwright.rms_norm, (x, y[0].detach().requires_grad_(), 1e-6), test_utils=checks)


@needs_compiler
def test_dropout_keeps_subnormal_numbers() -> None:
    x = torch.full((2, 33), 1e-39, dtype=torch.bfloat16)
    assert (x != 0).all()
    rows_T, positions = torch.arange(2), torch.zeros(2, dtype=torch.int64)
    out = cpu.add_dropout(x, torch.zeros_like(x), rows_T, positions, [1, 2, 0], 1.0)
    assert torch.equal(out, x)
