import pytest
import torch

from pipeline.kernels.cross_entropy import linear, linear_cross_entropy_sum, reference

WIDTH, VOCABULARY = 16, 50


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linear, "_CHUNK_LOGITS", 7 * VOCABULARY)
    monkeypatch.setattr(reference, "_CACHED_LOGITS", 3 * VOCABULARY)


def drawn(rows: int, dtype: torch.dtype = torch.float64) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """States, weight and labels."""
    generator = torch.Generator().manual_seed(rows)
    states = torch.randn(rows, WIDTH, generator=generator, dtype=torch.float64).to(dtype).requires_grad_()
    weight = torch.randn(VOCABULARY, WIDTH, generator=generator, dtype=torch.float64).to(dtype).requires_grad_()
    return states, weight, torch.randint(0, VOCABULARY, (rows,), generator=generator)


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize("rows", [0, 1, 40])
@pytest.mark.parametrize(("z_loss", "smoothing"), [(0.0, 0.0), (1e-2, 0.0), (0.0, 0.1), (1e-2, 0.1)])
def test_the_sum_and_its_gradients_are_torchs_own(rows: int, z_loss: float, smoothing: float) -> None:
    states, weight, labels = drawn(rows)
    ours = linear_cross_entropy_sum(states, weight, labels, z_loss, smoothing)
    gradients = torch.autograd.grad(3.0 * ours, (states, weight))
    logits = states @ weight.T
    theirs = torch.nn.functional.cross_entropy(logits, labels, reduction="sum", label_smoothing=smoothing)
    theirs = theirs + z_loss * torch.logsumexp(logits, -1).square().sum()
    expected = torch.autograd.grad(3.0 * theirs, (states, weight))
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)
    for gradient, right in zip(gradients, expected, strict=True):
        torch.testing.assert_close(gradient, right, rtol=1e-10, atol=1e-11)


@pytest.mark.usefixtures("small_chunks")
def test_bf16_is_summed_in_float32() -> None:
    states, weight, labels = drawn(300, torch.bfloat16)
    loss = linear_cross_entropy_sum(states, weight, labels)
    gradients = torch.autograd.grad(loss, (states, weight))
    logits = states.detach() @ weight.detach().T
    expected = torch.nn.functional.cross_entropy(logits.double(), labels, reduction="sum")
    assert loss.dtype == torch.float32
    assert abs(loss.item() / expected.item() - 1) < 1e-6
    wide = [tensor.detach().double().requires_grad_() for tensor in (states, weight)]
    torch.nn.functional.cross_entropy(wide[0] @ wide[1].T, labels, reduction="sum").backward()
    for gradient, right in zip(gradients, wide, strict=True):
        assert gradient.dtype == torch.bfloat16
        assert right.grad is not None
        # bf16 has 8 bits: logits, probabilities and the products' results are each rounded once.
        assert (gradient.double() - right.grad).norm() < 2**-7 * right.grad.norm()


@pytest.mark.usefixtures("small_chunks")
def test_a_bias_is_added_to_the_logits_and_has_its_gradient() -> None:
    states, weight, labels = drawn(40)
    bias = torch.linspace(-1.0, 1.0, VOCABULARY, dtype=torch.float64, requires_grad=True)
    ours = linear_cross_entropy_sum(states, weight, labels, bias_V=bias)
    theirs = torch.nn.functional.cross_entropy(states @ weight.T + bias, labels, reduction="sum")
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)
    gradients = (torch.autograd.grad(loss, (states, weight, bias)) for loss in (ours, theirs))
    for gradient, right in zip(*gradients, strict=True):
        torch.testing.assert_close(gradient, right, rtol=1e-10, atol=1e-11)


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_bits_of_the_sum_and_of_its_gradients_repeat(dtype: torch.dtype) -> None:
    states, weight, labels = drawn(300, dtype)
    runs = []
    for _ in range(3):
        loss = linear_cross_entropy_sum(states, weight, labels, z_loss=1e-2, label_smoothing=0.1)
        runs.append((loss, *torch.autograd.grad(loss, (states, weight))))
    for again in runs[1:]:
        assert all(torch.equal(one, other) for one, other in zip(runs[0], again, strict=True))


def test_huge_logits_do_not_overflow() -> None:
    states, weight = torch.eye(2, requires_grad=True), torch.tensor([[3e4, -3e4], [0.0, 0.0]])
    loss = linear_cross_entropy_sum(states, weight, torch.tensor([1, 0]))
    (gradient,) = torch.autograd.grad(loss, states)
    assert loss.item() == 6e4
    assert gradient.tolist() == [[3e4, -3e4], [-3e4, 3e4]]


@pytest.mark.usefixtures("small_chunks")
def test_without_gradients_the_loss_is_the_same_bits() -> None:
    states, weight, labels = drawn(40, torch.float32)
    with torch.no_grad():
        evaluated = linear_cross_entropy_sum(states, weight, labels)
    assert evaluated.item().hex() == linear_cross_entropy_sum(states, weight, labels).item().hex()


def test_the_logits_of_all_rows_never_exist_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linear, "_CHUNK_LOGITS", 64 * VOCABULARY)
    largest = 0

    class Watch(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
            nonlocal largest
            out = func(*args, **(kwargs or {}))
            if isinstance(out, torch.Tensor) and VOCABULARY in out.shape:
                largest = max(largest, out.shape[0] if out.shape[-1] == VOCABULARY else 0)
            return out

    states, weight, labels = drawn(1000, torch.float32)
    with Watch():
        linear_cross_entropy_sum(states, weight, labels).backward()
    assert 0 < largest <= 64
