import pytest
import torch

from pipeline.kernels.cross_entropy import cross_entropy_sum
from pipeline.kernels.cross_entropy import reference as kernel


@pytest.mark.parametrize("rows", [0, 1, 40])
def test_the_sum_and_its_gradient_are_torchs_own(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel, "_CHUNK_NUMBERS", 7 * 50)  # 40 rows in chunks of 7
    generator = torch.Generator().manual_seed(rows)
    logits = (5 * torch.randn(rows, 50, generator=generator, dtype=torch.float64)).requires_grad_()
    labels = torch.randint(0, 50, (rows,), generator=generator)
    ours = cross_entropy_sum(logits, labels)
    (gradient,) = torch.autograd.grad(3.0 * ours, logits)
    theirs = torch.nn.functional.cross_entropy(logits, labels, reduction="sum")
    (expected,) = torch.autograd.grad(3.0 * theirs, logits)
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(gradient, expected, rtol=1e-10, atol=1e-12)


def test_bf16_logits_are_summed_in_float32() -> None:
    logits = torch.randn(300, 1000, generator=torch.Generator().manual_seed(0)).bfloat16().requires_grad_()
    labels = torch.arange(300)
    loss = cross_entropy_sum(logits, labels)
    loss.backward()
    expected = torch.nn.functional.cross_entropy(logits.double(), labels, reduction="sum")
    assert loss.dtype == torch.float32
    assert abs(loss.item() / expected.item() - 1) < 1e-6
    assert logits.grad is not None
    assert logits.grad.dtype == torch.bfloat16


def test_huge_logits_do_not_overflow() -> None:
    logits = torch.tensor([[3e4, 0.0], [-3e4, 0.0]], requires_grad=True)
    loss = cross_entropy_sum(logits, torch.tensor([1, 0]))
    loss.backward()
    assert loss.item() == 6e4
    assert logits.grad is not None
    assert logits.grad.tolist() == [[1.0, -1.0], [-1.0, 1.0]]
