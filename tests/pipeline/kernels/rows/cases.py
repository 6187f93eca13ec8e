"""Random inputs of the row-wise kernels, and how far a twin's results lie from the reference in float64."""

from collections.abc import Callable, Iterator
from types import ModuleType
from typing import NamedTuple

import torch

from pipeline.corruption.philox import stream_key
from pipeline.kernels.dropout import Dropout

# Rows and width: none, one, odd, more than a step of any kernel, and what a model has.
SHAPES = ((0, 8), (1, 5), (3, 37), (17, 64), (5, 1000), (700, 130), (64, 512))
# Relative norms: the two halves round to 2**-8 and 2**-11 of a number at most; in float32 a sum of a thousand products
# loses a few of the last of 24 bits.
BOUNDS = {torch.float32: 2e-6, torch.bfloat16: 2**-8, torch.float16: 2**-11}

Op = Callable[[ModuleType, dict[str, torch.Tensor]], torch.Tensor]


class Case(NamedTuple):
    """One call: what it is given, and what its output's gradient is."""

    name: str
    op: Op
    tensors: dict[str, torch.Tensor]
    grad: torch.Tensor

    def results(self, twin: ModuleType, dtype: torch.dtype) -> dict[str, torch.Tensor]:
        """Output and gradients of `twin` in float64, computed in `dtype` from inputs rounded to it."""
        leaves = {name: x.to(dtype).requires_grad_() for name, x in self.tensors.items()}
        out = self.op(twin, leaves)
        gradients = torch.autograd.grad(out, list(leaves.values()), self.grad.to(dtype))
        return {"out": out.detach(), **dict(zip(leaves, gradients, strict=True))}

    def errors(self, twin: ModuleType, reference: ModuleType, dtype: torch.dtype) -> dict[str, float]:
        """Relative norms of the difference from the reference in float64, on the same inputs."""
        rounded = self._replace(
            tensors={name: x.to(dtype).double() for name, x in self.tensors.items()}, grad=self.grad.to(dtype).double()
        )
        exact = rounded.results(reference, torch.float64)
        got = rounded.results(twin, dtype)
        return {name: _error(got[name].double(), x) for name, x in exact.items()}


def _error(got: torch.Tensor, exact: torch.Tensor) -> float:
    return float((got - exact).norm() / exact.norm()) if exact.any() else float(got.abs().sum())


def smooth_cases(device: str = "cpu") -> Iterator[Case]:
    """RMSNorm and gated GELU at every shape, values up to a few dozen among them."""
    generator = torch.Generator().manual_seed(3)

    def draw(*shape: int) -> torch.Tensor:
        x = torch.randn(*shape, generator=generator, dtype=torch.float64)
        return (x * torch.where(torch.rand(*shape, generator=generator) < 0.05, 12.0, 1.0)).to(device)

    for rows, width in SHAPES:
        shape = (rows, width)
        tensors = {"x": draw(*shape), "weight": draw(width)}
        yield Case(f"norm {shape}", lambda twin, x: twin.rms_norm(x["x"], x["weight"], 1e-6), tensors, draw(*shape))
        tensors = {"gate": draw(*shape), "up": draw(*shape)}
        yield Case(f"gate {shape}", lambda twin, x: twin.gated_gelu(x["gate"], x["up"]), tensors, draw(*shape))


def drop_of(rows: int, rate: float, device: str = "cpu") -> Dropout:
    """Names of rows of several samples, some at positions of more than 32 bits."""
    numbers = torch.arange(rows, device=device)
    positions = torch.where(numbers % 3 == 0, numbers + 2**35, numbers // 7)
    return Dropout(rate, stream_key(5, f"dropout/{rate}"), (numbers % 11).int(), positions)


def dropout_cases(device: str = "cpu") -> Iterator[Case]:
    """Dropout with and without a residual at every shape."""
    generator = torch.Generator().manual_seed(4)
    for number, (rows, width) in enumerate(SHAPES):
        drop = drop_of(rows, (0.1, 0.5)[number % 2], device)
        x, residual, grad = torch.randn(3, rows, width, generator=generator, dtype=torch.float64).to(device)

        def alone(twin: ModuleType, given: dict[str, torch.Tensor], drop: Dropout = drop) -> torch.Tensor:
            return twin.add_dropout(given["x"], drop)

        def added(twin: ModuleType, given: dict[str, torch.Tensor], drop: Dropout = drop) -> torch.Tensor:
            return twin.add_dropout(given["x"], drop, given["residual"])

        yield Case(f"dropout ({rows}, {width})", alone, {"x": x}, grad)
        yield Case(f"dropout and residual ({rows}, {width})", added, {"x": x, "residual": residual}, grad)
