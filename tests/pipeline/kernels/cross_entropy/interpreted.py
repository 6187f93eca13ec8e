"""Linear and cross entropy by Liger's kernel in Triton's interpreter: a program of its own, as Triton asks at import.

    TRITON_INTERPRET=1 python -m tests.pipeline.kernels.cross_entropy.interpreted

prints one line of JSON per case and dtype: how far the sum and its gradients are from torch's own in float64, by
relative norm. float16 stands for bfloat16, to which the interpreter rounds by cutting off.
"""

import itertools
import json
import sys
from unittest import mock

import torch

from pipeline.kernels.cross_entropy import liger, linear, linear_cross_entropy_sum
from tests.pipeline.kernels.interpreter import interpret_faster

ROWS, WIDTH, VOCABULARY = 9, 16, 70


def errors(dtype: torch.dtype, z_loss: float, smoothing: float, has_bias: bool) -> dict[str, float]:
    """Of rows in three chunks, each row in three pieces."""
    generator = torch.Generator().manual_seed(1)
    shapes = {"states": (ROWS, WIDTH), "weight": (VOCABULARY, WIDTH)} | ({"bias": (VOCABULARY,)} if has_bias else {})
    given = {name: torch.randn(shape, generator=generator).to(dtype) for name, shape in shapes.items()}
    labels = torch.randint(0, VOCABULARY, (ROWS,), generator=generator)
    labels[:2] = torch.tensor([0, VOCABULARY - 1])
    ours = {name: x.clone().requires_grad_() for name, x in given.items()}
    loss = linear_cross_entropy_sum(ours["states"], ours["weight"], labels, z_loss, smoothing, ours.get("bias"))
    got = {"loss": loss.detach(), **dict(zip(ours, torch.autograd.grad(loss, list(ours.values())), strict=True))}
    exact = {name: x.double().requires_grad_() for name, x in given.items()}
    logits = torch.nn.functional.linear(exact["states"], exact["weight"], exact.get("bias"))
    right = torch.nn.functional.cross_entropy(logits, labels, reduction="sum", label_smoothing=smoothing)
    right = right + z_loss * torch.logsumexp(logits, -1).square().sum()
    expected = {
        "loss": right.detach(),
        **dict(zip(exact, torch.autograd.grad(right, list(exact.values())), strict=True)),
    }
    return {name: float((got[name] - x).norm() / x.norm()) for name, x in expected.items()}


def main() -> None:
    torch.set_num_threads(1)
    interpret_faster()
    with (
        mock.patch.object(liger, "fits", return_value=True),
        mock.patch.object(liger, "MOST_COLUMNS", 32),
        mock.patch.object(linear, "_CHUNK_LOGITS", 3 * VOCABULARY),
        mock.patch.object(liger, "loss_and_gradient", side_effect=liger.loss_and_gradient) as kernel,
    ):
        for dtype, z_loss, smoothing in itertools.product((torch.float32, torch.float16), (0.0, 1e-2), (0.0, 0.1)):
            found = errors(dtype, z_loss, smoothing, has_bias=smoothing > 0)
            assert kernel.call_count == 3, "one call for each chunk"
            kernel.reset_mock()
            line = {"case": f"z loss {z_loss}, smoothing {smoothing}", "dtype": str(dtype), "errors": found}
            sys.stdout.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main()
