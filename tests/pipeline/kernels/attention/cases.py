"""Attention calls drawn from a seed: ragged sequences, every pattern and bias; their results by any implementation."""

import random
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch

from pipeline.corruption import philox
from pipeline.kernels.attention import Bias, FireBias, IntervalPattern, Keep, RelativeBias
from pipeline.kernels.attention.fire import fire_distances
from pipeline.kernels.attention.patterns import row_indices
from pipeline.kernels.dropout import Dropout
from pipeline.model.positions.fire import piecewise

LENGTHS = [0, 1, 2, 3, 17, 40, 64, 65, 130, 200]
PATTERNS = ("full", "causal", "prefix", "window", "slot and others", "keep", "permuted")
RESULTS = ("out", "q", "k", "v", "bias", "fire_pieces", "fire_shape", "key_scores")
WIDE = ("bias", "fire_pieces", "fire_shape", "key_scores")  # float32, whatever q, k and v are
# Errors are relative to the result's norm, or where that is smaller (a gradient that cancels: one key seen) to the norm
# of the output's gradient, for q and k times what scores multiply it by, scale * sqrt(D). bfloat16 rounds at 2e-3; q
# and k see it twice, through the output and the probabilities.
BOUNDS = {
    torch.float32: dict.fromkeys(RESULTS, 6e-6),
    torch.bfloat16: {"out": 4e-3, "q": 2e-2, "k": 2e-2, "v": 5e-3, **dict.fromkeys(WIDE, 1e-2)},
}

Compute = Callable[..., torch.Tensor]


@dataclass(frozen=True)
class Case:
    """What an implementation is given; floating tensors in float64, rounded to each dtype tried."""

    tensors: dict[str, torch.Tensor]  # q, k, v, perhaps bias or fire_pieces and fire_shape, perhaps key_scores
    grad_out: torch.Tensor
    cu_q: torch.Tensor
    cu_k: torch.Tensor
    pattern: IntervalPattern
    positions: tuple[torch.Tensor | None, torch.Tensor | None] = (None, None)
    scale: float = 1.0
    dropout: Dropout | None = None
    breaks: torch.Tensor | None = None  # FIRE's
    extents: torch.Tensor | None = None

    def bias_of(self, tensors: dict[str, torch.Tensor]) -> Bias | None:
        """The bias that is made of these tensors."""
        if "bias" in tensors:
            return RelativeBias(tensors["bias"], *self.positions)
        if self.breaks is None or self.extents is None:
            return None
        pieces, shape = tensors["fire_pieces"], tensors["fire_shape"]
        return FireBias(pieces, self.breaks.to(pieces.dtype), shape, self.extents, *self.positions)

    def rounded(self, dtype: torch.dtype) -> "Case":
        """The same case with q, k, v and the output's gradient rounded to `dtype`."""
        tensors = {name: x.to(torch.float32 if name in WIDE else dtype) for name, x in self.tensors.items()}
        return replace(self, tensors=tensors, grad_out=self.grad_out.to(dtype))

    def exact(self) -> "Case":
        """The same numbers in float64."""
        tensors = {name: x.double() for name, x in self.tensors.items()}
        return replace(self, tensors=tensors, grad_out=self.grad_out.double())

    def results(self, compute: Compute) -> dict[str, torch.Tensor]:
        """The output and the gradients."""
        leaves = {name: x.detach().clone().requires_grad_() for name, x in self.tensors.items()}
        out = compute(
            *(leaves[name] for name in "qkv"),
            *(self.cu_q, self.cu_k, self.pattern, self.bias_of(leaves), self.scale, self.dropout),
            leaves.get("key_scores"),
        )
        return {
            "out": out.detach(),
            **dict(zip(leaves, torch.autograd.grad(out, leaves.values(), self.grad_out), strict=True)),
        }

    def _steepest(self) -> float:
        """How much a score changes, at most, with FIRE's c or L."""
        if self.extents is None or len(self.extents) == 0:
            return 0.0
        shape, slopes = self.tensors["fire_shape"].double(), self.tensors["fire_pieces"][1]
        distances = torch.arange(1.0, 300.0, dtype=torch.float64, device=shape.device).expand(2, -1)
        extremes = torch.stack([self.extents.min(), self.extents.max()])
        changes = torch.autograd.functional.jacobian(lambda x: fire_distances(distances, extremes, x), shape)
        return float(changes.abs().max() * slopes.abs().max())

    def errors(self, compute: Compute, reference: Compute) -> dict[str, float]:
        """Relative errors of `compute` by result, against `reference` in float64."""
        return self.relative_errors(self.results(compute), reference)

    def relative_errors(self, got: dict[str, torch.Tensor], reference: Compute) -> dict[str, float]:
        """How far results are from those of `reference` in float64."""
        floor = self.grad_out.double().norm().clamp(min=1e-30)  # there may be no rows
        floors = dict.fromkeys("qk", floor * max(1.0, self.scale * self.grad_out.shape[2] ** 0.5))
        floors["fire_shape"] = floor * max(1.0, self._steepest())
        exact = self.exact().results(reference)
        return {
            name: float((got[name] - exact[name]).norm() / exact[name].norm().clamp(min=floors.get(name, floor)))
            for name in exact
        }


def boundaries(lengths: list[int]) -> torch.Tensor:
    """cu_seqlens of these lengths."""
    return torch.tensor([0, *torch.tensor(lengths).cumsum(0).tolist()], dtype=torch.int32)


def draw_case(seed: int) -> Case:
    """Case number `seed`."""
    rng, generator = random.Random(seed), torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    lengths = rng.choices(LENGTHS, k=rng.randint(1, 4))
    crosses = rng.random() < 0.35
    cu_q = boundaries(lengths)
    cu_k = boundaries(rng.choices(LENGTHS, k=len(lengths))) if crosses else cu_q
    tail = rng.choice([0, 3])
    num_q, num_k = int(cu_q[-1]) + tail, int(cu_k[-1]) + tail
    kv_heads, head_dim = rng.choice([1, 2]), rng.choice([8, 16, 32, 64, 80, 96, 128])
    heads = kv_heads * rng.choice([1, 1, 3])
    tensors = {"q": normal(num_q, heads, head_dim), **{name: normal(num_k, kv_heads, head_dim) for name in "kv"}}
    by_position = rng.random() < 0.4
    positions = tuple(torch.randint(0, 300, (n,), generator=generator) if by_position else None for n in (num_q, num_k))
    if rng.random() < 0.75:
        tensors["bias"] = normal(heads, 2 * rng.choice([3, 33, 128]) + 1)
    if rng.random() < 0.25:
        tensors["key_scores"] = normal(num_k)
    pattern = IntervalPattern.full(cu_q, num_q, cu_k, num_k) if crosses else draw_pattern(rng, generator, cu_q, num_q)
    rows, sample = torch.arange(num_q) + 7, torch.full((num_q,), 2**32 + 1)
    dropout = Dropout(0.3, philox.Key(9, 2**32 - 1), rows, sample) if rng.random() < 0.3 else None
    scale = rng.choice([1.0, 0.3, head_dim**-0.5])
    case = Case(tensors, normal(num_q, heads, head_dim), cu_q, cu_k, pattern, positions, scale, dropout)
    return with_fire(case, seed) if "bias" in tensors and rng.random() < 0.4 else case


def with_fire(case: Case, seed: int) -> Case:
    """The same case with FIRE's bias instead; thresholds among the extents, which are positions or the greatest one."""
    rng, generator = random.Random(seed), torch.Generator().manual_seed(seed)
    width, (num_queries, heads, _) = rng.choice([1, 5, 32]), case.tensors["q"].shape
    # In float32 from the start: a gradient of a piece counts who lies on it, which a rounded break would change.
    drawn = (torch.randn(*shape, generator=generator) for shape in ((width,), (width,), (heads, width)))
    pieces, breaks = piecewise(*drawn)
    shape = torch.tensor([rng.choice([0.05, 0.5]), rng.choice([8.0, 64.0, 500.0])])
    tensors = {name: x for name, x in case.tensors.items() if name != "bias"}
    tensors |= {"fire_pieces": pieces.double(), "fire_shape": shape.double()}
    extents = row_indices(case.cu_q, num_queries).clamp(min=0) if case.positions[0] is None else case.positions[0]
    if rng.random() < 0.5:
        extents = torch.full_like(extents, 300)
    return replace(case, tensors=tensors, breaks=breaks, extents=extents)


def draw_pattern(
    rng: random.Random, generator: torch.Generator, cu_seqlens: torch.Tensor, num_rows: int
) -> IntervalPattern:
    """One of `PATTERNS` among the rows of one view."""
    name = rng.choice(PATTERNS)
    if name == "full":
        return IntervalPattern.full(cu_seqlens, num_rows, cu_seqlens, num_rows)
    if name == "causal":
        return IntervalPattern.causal(cu_seqlens, num_rows)
    if name == "prefix":
        return IntervalPattern.prefix(cu_seqlens, num_rows, cu_seqlens.diff() // 2)
    if name == "window":
        before, after = rng.choice([0, 3, 70]), rng.choice([-1, 0, 9])
        return IntervalPattern.window(cu_seqlens, num_rows, before, after, slot=rng.random() < 0.5)
    if name == "permuted":
        ranks = torch.randperm(num_rows, generator=generator).to(torch.int32)
        return IntervalPattern(ranks, torch.zeros_like(ranks), ranks)
    rows, sample = torch.arange(num_rows), torch.full((num_rows,), 2**33 + 5)
    keep = Keep(rng.choice([0.0, 0.5, 1.0]), philox.Key(3, 2**31 + 4), rows, sample) if name == "keep" else None
    return IntervalPattern.slot_and_others(cu_seqlens, num_rows, keep)
