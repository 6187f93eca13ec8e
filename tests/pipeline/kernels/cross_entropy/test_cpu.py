"""The C++ kernel that makes a chunk of logits their own gradient, against torch in float64."""

import pytest
import torch

from pipeline.kernels.cross_entropy import cpu, linear, reference

pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.skipif(cpu.library() is None, reason="no C++ compiler"),
]

DTYPES = [torch.float32, torch.bfloat16]
# Widths around a vector's 16 lanes and four vectors' 64, and one of many vectors.
WIDTHS = (1, 2, 15, 16, 17, 63, 64, 65, 1000)
ROUNDING = {torch.float32: 2e-6, torch.bfloat16: 2**-8}  # of the gradient, which is stored in the logits' dtype
LOSS_ROUNDING = 1e-6  # sums of up to a thousand float32 terms


def drawn(width: int, dtype: torch.dtype, rows: int = 9) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits and labels; the last row's label is the last column."""
    generator = torch.Generator().manual_seed(width)
    logits = 5 * torch.randn(rows, width, generator=generator)
    labels = torch.randint(0, width, (rows,), generator=generator)
    labels[-1] = width - 1
    return logits.to(dtype), labels


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("z_loss", "smoothing"), [(0.0, 0.0), (1e-2, 0.0), (0.0, 0.1), (1e-2, 0.1)])
def test_loss_and_gradient_are_torchs_in_float64_within_rounding(
    dtype: torch.dtype, z_loss: float, smoothing: float
) -> None:
    for width in WIDTHS:
        logits, labels = drawn(width, dtype)
        wide = logits.double().requires_grad_()
        expected = torch.nn.functional.cross_entropy(wide, labels, reduction="sum", label_smoothing=smoothing)
        expected = expected + z_loss * torch.logsumexp(wide, -1).square().sum()
        (gradient,) = torch.autograd.grad(expected, wide)
        loss = cpu.loss_and_gradient(logits, labels, z_loss, smoothing, True)
        size = 1.0 + float(torch.logsumexp(wide.detach(), -1).abs().sum())  # what is subtracted to give the loss
        assert loss.dtype == torch.float32
        assert abs(loss.item() - expected.item()) <= LOSS_ROUNDING * size, width
        assert (logits.double() - gradient).abs().max() <= ROUNDING[dtype] * max(1.0, float(gradient.abs().max())), (
            width
        )


@pytest.mark.parametrize("dtype", DTYPES)
def test_bits_are_the_same_for_any_number_of_threads(dtype: torch.dtype) -> None:
    results = []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        logits, labels = drawn(1000, dtype, rows=50)
        results.append((cpu.loss_and_gradient(logits, labels, 1e-2, 0.1, True), logits))
    for again in results[1:]:
        assert all(torch.equal(one, other) for one, other in zip(results[0], again, strict=True))


@pytest.mark.parametrize("dtype", DTYPES)
def test_unless_the_gradient_is_wanted_logits_stay_as_they_are(dtype: torch.dtype) -> None:
    logits, labels = drawn(65, dtype)
    before = logits.clone()
    loss = cpu.loss_and_gradient(logits, labels, 0.0, 0.0, False)
    assert torch.equal(logits, before)
    assert torch.equal(loss, cpu.loss_and_gradient(logits, labels, 0.0, 0.0, True))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_logit_that_is_not_finite_makes_the_loss_not_finite(dtype: torch.dtype, bad: float) -> None:
    for column in (3, 64):  # in the middle of a row and in what is left of it
        logits, labels = drawn(65, dtype)
        logits[4, column] = bad
        assert not cpu.loss_and_gradient(logits, labels, 0.0, 0.0, True).isfinite()
        assert not logits[4].isfinite().all()
        assert logits[[*range(4), *range(5, 9)]].isfinite().all()


def test_a_hidden_logit_has_no_gradient() -> None:
    logits, labels = drawn(65, torch.float32)
    labels[:] = 0
    logits[:, [7, 64]] = -torch.inf
    assert cpu.loss_and_gradient(logits, labels, 0.0, 0.0, True).isfinite()
    assert (logits[:, [7, 64]] == 0.0).all()


def test_training_on_a_cpu_takes_the_kernel_and_float64_the_reference() -> None:
    assert linear._kernel_for(torch.empty(1, dtype=torch.bfloat16)) is cpu.loss_and_gradient
    assert linear._kernel_for(torch.empty(1, dtype=torch.float64)) is reference.loss_and_gradient


def test_torch_finds_the_operators_schema_and_fake_kernel_right() -> None:
    logits, labels = drawn(100, torch.bfloat16)
    torch.library.opcheck(
        torch.ops.spanwright.cross_entropy_rows_.default,
        (logits, labels, 1e-4, 0.1, True),
        test_utils=("test_schema", "test_faketensor"),
    )


def test_a_compiled_function_holds_it_without_a_break_forward_and_backward() -> None:
    generator = torch.Generator().manual_seed(0)
    states, weight = (torch.randn(rows, 16, generator=generator).bfloat16().requires_grad_() for rows in (9, 100))
    labels = torch.randint(0, 100, (9,), generator=generator)
    compiled = torch.compile(linear.linear_cross_entropy_sum, fullgraph=True, backend="aot_eager")
    results = []
    for call in (linear.linear_cross_entropy_sum, compiled):
        loss = call(states, weight, labels)
        results.append([loss.detach(), *torch.autograd.grad(loss, [states, weight])])
    assert all(torch.equal(one, other) for one, other in zip(*results, strict=True))
