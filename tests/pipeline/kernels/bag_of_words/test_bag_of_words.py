"""The fused bag of words against autograd on all logits at once."""

import itertools

import pytest
import torch

from pipeline.kernels.bag_of_words import bag_of_words_sum, reference


def plain(
    states: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, tokens: torch.Tensor, bounds: list[int]
) -> torch.Tensor:
    total = states.new_zeros(())
    for start, stop in itertools.pairwise(bounds):
        if stop > start:
            largest = (states[start:stop] @ weight.T + bias).max(0).values
            total = total - largest.log_softmax(0)[tokens[start:stop].unique()].mean()
    return total


@pytest.mark.parametrize("chunk_logits", [1, 150, 2**23])
def test_loss_and_gradients_are_those_of_all_logits_at_once(chunk_logits: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reference, "_CHUNK_LOGITS", chunk_logits)
    generator = torch.Generator().manual_seed(0)
    inputs = [
        torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_()
        for shape in ((23, 8), (50, 8), (50,))
    ]
    tokens = torch.randint(0, 50, (23,), generator=generator)
    tokens[3] = tokens[2]  # a token twice counts once
    bounds = [0, 9, 9, 10, 22, 22]  # an empty sequence, one of one row, and a row of no sequence
    found = bag_of_words_sum(*inputs, tokens, torch.tensor(bounds))
    expected = plain(*inputs, tokens, bounds)
    torch.testing.assert_close(found, expected, rtol=1e-13, atol=0)
    for got, wanted in zip(
        torch.autograd.grad(3 * found, inputs), torch.autograd.grad(3 * expected, inputs), strict=True
    ):
        torch.testing.assert_close(got, wanted, rtol=1e-12, atol=1e-14)


def test_bf16_inputs_give_a_float32_loss_and_bf16_gradients() -> None:
    generator = torch.Generator().manual_seed(1)
    inputs = [
        torch.randn(shape, generator=generator).bfloat16().requires_grad_() for shape in ((12, 8), (64, 8), (64,))
    ]
    tokens, bounds = torch.arange(12), torch.tensor([0, 5, 12])
    loss = bag_of_words_sum(*inputs, tokens, bounds)
    assert loss.dtype == torch.float32
    assert [x.dtype for x in torch.autograd.grad(loss, inputs)] == [torch.bfloat16] * 3


def test_it_never_keeps_more_than_a_chunk_of_logits(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    linear = torch.nn.functional.linear
    monkeypatch.setattr(reference, "_CHUNK_LOGITS", 2000)
    monkeypatch.setattr(torch.nn.functional, "linear", lambda *inputs: sizes.append(len(inputs[0])) or linear(*inputs))
    bag_of_words_sum(
        torch.randn(100, 4), torch.randn(1000, 4), torch.randn(1000), torch.arange(100), torch.tensor([0, 100])
    )
    assert sizes == [2] * 50
