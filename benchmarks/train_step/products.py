"""`python -m benchmarks.train_step.products`: the matrix products of a step on windows of one length, each timed alone.

The sum of their times is what a step would take if nothing else took any: no norm, softmax, loss or optimizer, and no
reading of what a product does not need. Prints a JSON line: that sum, its FLOPs, and the rate of a 2048^3 product.
"""

import argparse
import json
import time
from collections import Counter
from dataclasses import dataclass

import torch

from benchmarks.train_step.device import device_here, wait_for
from pipeline.config import load_config
from pipeline.model.config import ModelConfig, padded_vocab_size

SIZE = 2048
_SECONDS = 0.3
_IN_A_ROW = 20  # on a GPU, whose products take less time than starting one
_BACKWARD = 2  # products of a backward for each of a forward


@dataclass(frozen=True)
class Product:
    """`batch` products [m, k] x [k, n]."""

    m: int
    k: int
    n: int
    batch: int = 1

    @property
    def flops(self) -> int:
        """Of all of the batch."""
        return 2 * self.batch * self.m * self.k * self.n


def products(model: ModelConfig, vocab_size: int, batch: int, rows: tuple[int, int]) -> Counter[Product]:
    """How often a step makes each product; `rows` are those of an encoder's and a decoder's sequence."""
    inner, found = model.num_heads * model.d_kv, Counter[Product]()
    source, target = (batch * length for length in rows)

    def linear(count: int, num_rows: int, width: int, out: int) -> None:
        found[Product(num_rows, width, out)] += count  # forward
        found[Product(num_rows, out, width)] += count  # gradient of the rows
        found[Product(width, num_rows, out)] += count  # gradient of the weight

    def attention(count: int, queries: int, keys: int, share: float = 1.0) -> None:
        heads = max(1, round(batch * model.num_heads * share))
        found[Product(queries, model.d_kv, keys, heads)] += count * (1 + _BACKWARD)
        found[Product(queries, keys, model.d_kv, heads)] += count * (1 + _BACKWARD)

    layers = model.num_layers
    for num_rows, projections in ((source, 4), (target, 6)):  # q, k, v and o; the decoder has q and o of the cross too
        linear(layers * (projections - 1), num_rows, model.d_model, inner)
        linear(layers, num_rows, inner, model.d_model)
        linear(layers * 2, num_rows, model.d_model, model.d_ff)
        linear(layers, num_rows, model.d_ff, model.d_model)
    linear(layers * 2, source, model.d_model, inner)  # keys and values of the cross attention
    attention(layers, rows[0], rows[0])
    attention(layers, rows[1], rows[1], 0.5)  # half of the pairs are seen
    attention(layers, rows[1], rows[0])
    linear(1, target, model.d_model, vocab_size)
    return found


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.train_step.products", description=__doc__)
    parser.add_argument("--model", required=True)
    for option in ("--vocab-size", "--batch", "--threads"):
        parser.add_argument(option, type=int, required=True)
    parser.add_argument("--rows", type=int, nargs=2, required=True)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    model: ModelConfig = load_config("t5_span", ["data.paths=[none]", f"model={given.model}"]).model
    found = products(model, padded_vocab_size(given.vocab_size), given.batch, tuple(given.rows))
    square = Product(SIZE, SIZE, SIZE)
    print(
        json.dumps(
            {
                "seconds": sum(_seconds(product) * count for product, count in found.items()),
                "flops": sum(product.flops * count for product, count in found.items()),
                "peak": square.flops / _seconds(square),
            }
        )
    )


def _seconds(product: Product) -> float:
    """The least time of a product in bfloat16."""
    device = device_here()
    left = torch.randn(product.batch, product.m, product.k, device=device).bfloat16()
    right = torch.randn(product.batch, product.k, product.n, device=device).bfloat16()
    out = torch.empty(product.batch, product.m, product.n, dtype=torch.bfloat16, device=device)
    if product.batch == 1:
        left, right, out = left[0], right[0], out[0]
    times = 1 if device.type == "cpu" else _IN_A_ROW
    torch.matmul(left, right, out=out)
    least, end = float("inf"), time.perf_counter() + _SECONDS
    while time.perf_counter() < end:
        wait_for(device)
        started = time.perf_counter()
        for _ in range(times):
            torch.matmul(left, right, out=out)
        wait_for(device)
        least = min(least, (time.perf_counter() - started) / times)
    return least


if __name__ == "__main__":
    main()
