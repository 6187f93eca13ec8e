"""The Triton kernels on CPU, by Triton's interpreter: a program of its own, since Triton asks once, at import.

    TRITON_INTERPRET=1 python -m tests.pipeline.kernels.attention.interpreted

prints one line of JSON per case and dtype: how far each result, written over NaN, is from the reference in float64.
bfloat16's products are beyond the interpreter (it multiplies their bits); float16 takes the same way through the code.
Every case is run in float32, whose bounds are the narrowest, and those that have all features between them in float16.
"""

import json
import sys
from collections.abc import Iterator
from dataclasses import replace

import torch

from pipeline.corruption import philox
from pipeline.kernels.attention import cpu, triton_launch
from pipeline.kernels.attention.operator import flatten
from pipeline.kernels.attention.reference import attention_reference
from pipeline.kernels.attention.triton_launch import Tile, Tiles
from pipeline.kernels.dropout import Dropout
from tests.pipeline.kernels.attention.cases import Case, boundaries, draw_case
from tests.pipeline.kernels.attention.test_hard_patterns import mpnet
from tests.pipeline.kernels.interpreter import interpret_faster

# Small, of different shapes where they may differ: sequences have many tiles, and the last is never full. Heads of
# 80 and 96 are multiplied in parts, the last of which may not be full either; heads up to 32 at once.
BIAS = Tile(32, 32, 4, 1, part=32)
TILES = Tiles(Tile(64, 32, 4, 1), queries=Tile(32, 32, 4, 1), keys=Tile(32, 64, 4, 1), bias=BIAS)
# Table by contiguous and by given positions, FIRE by both, dropout, keep, key scores, shared key heads, padded heads.
HALF = ("mpnet", "decoder", "seed 3", "seed 12", "seed 14", "seed 48")
MAX_ROWS, MAX_WORK = 210, 60_000  # rows of a case, and rows by heads by reach: the interpreter is slow


def results(case: Case) -> dict[str, torch.Tensor]:
    """What the kernels write into memory full of NaN; like `Case.results`."""
    tensors = case.tensors
    others = (
        case.cu_q,
        case.cu_k,
        case.pattern,
        case.bias_of(tensors),
        case.scale,
        case.dropout,
        tensors.get("key_scores"),
    )
    given = cpu.Arguments(*flatten(*(tensors[name] for name in "qkv"), *others))
    out, logsumexp = _nan(given.q), torch.full((given.q.shape[1], len(given.q)), torch.nan)
    gradients = {f"grad_{name}": _nan(tensors[name]) for name in tensors}
    triton_launch.forward(given, out, logsumexp, TILES)
    triton_launch.backward(given, out, logsumexp, case.grad_out, gradients, TILES)
    assert not logsumexp.isnan().any(), "every element is written"
    return {"out": out, **{name: gradients[f"grad_{name}"] for name in tensors}}


def _nan(x: torch.Tensor) -> torch.Tensor:
    return torch.full(x.shape, torch.nan, dtype=x.dtype)


def cases() -> Iterator[tuple[str, Case]]:
    """MPNet's two streams, a decoder as it is trained, then drawn ones that are small enough."""
    yield "mpnet", two_streams()
    rows, positions = torch.arange(65), torch.full((65,), 2**32 + 1)
    yield "decoder", replace(draw_case(28), dropout=Dropout(0.3, philox.Key(9, 2**32 - 1), rows, positions))
    for seed in range(50):
        case = draw_case(seed)
        heads, reach = case.tensors["q"].shape[1], case.tensors["bias"].shape[1] if "bias" in case.tensors else 1
        num_rows = len(case.tensors["q"]) + len(case.tensors["k"])
        by_position = 1 if case.positions[0] is None else reach
        if num_rows <= MAX_ROWS and num_rows * heads * by_position <= MAX_WORK:
            yield f"seed {seed}", case


def two_streams() -> Case:
    """MPNet with the positions of its tokens: keys and queries in an order that is not that of positions."""
    pattern, rules = mpnet(length=50, num_known=33)
    generator = torch.Generator().manual_seed(1)
    num_queries, num_keys = len(rules), len(pattern.key_ranks)
    shapes = {"q": (num_queries, 2, 16), "k": (num_keys, 2, 16), "v": (num_keys, 2, 16), "bias": (2, 17)}
    tensors = {name: torch.randn(*x, generator=generator, dtype=torch.float64) for name, x in shapes.items()}
    places = torch.randperm(50, generator=generator)
    positions = (places[torch.arange(num_queries) % 50], places[pattern.key_ranks.long() % 50])
    grad_out = torch.randn(num_queries, 2, 16, generator=generator, dtype=torch.float64)
    return Case(tensors, grad_out, boundaries([num_queries]), boundaries([num_keys]), pattern, positions)


def main() -> None:
    torch.set_num_threads(1)
    interpret_faster()
    for name, case in cases():
        for dtype in (torch.float32, torch.float16) if name in HALF else (torch.float32,):
            rounded = case.rounded(dtype)
            line = {
                "case": name,
                "dtype": str(dtype),
                "errors": rounded.relative_errors(results(rounded), attention_reference),
            }
            sys.stdout.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main()
