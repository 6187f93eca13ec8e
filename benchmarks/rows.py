"""The row-wise kernels beside plain torch: alone, and in a training step of a T5 and a BERT encoder.

1. Alone: forward + backward of dropout with a residual, RMSNorm and gated GELU on bfloat16 rows.
2. In a step: forward + backward of a stack of layers on packed rows, attention and matrix products included; `t5`
   (RMSNorm, gated GELU) without dropout, as it is pretrained, and with; `bert` (LayerNorm, GELU: torch's own) with.

`kernels` takes them, `plain` the reference (pipeline/kernels/rows/reference.py), in turn, in CPU seconds on one thread.
Ratios are medians over the rounds of plain / kernels. A goal of 1 means: no slower.
"""

import argparse
import statistics
from collections.abc import Callable
from typing import Any
from unittest import mock

import torch

from benchmarks import frame
from pipeline.batch import Batch
from pipeline.corruption.philox import stream_key
from pipeline.kernels import rows
from pipeline.kernels.attention import IntervalPattern
from pipeline.kernels.dropout import Dropout
from pipeline.kernels.rows import operator
from pipeline.model.config import ModelConfig
from pipeline.model.initialisation import initialise
from pipeline.model.streams import key_streams
from pipeline.model.transformer import Transformer

SEQUENCES = 8
SHAPE = {"d_model": 512, "d_kv": 64, "num_heads": 8, "num_layers": 2}
STEPS: dict[str, dict[str, Any]] = {
    "step_t5": {"d_ff": 1024},
    "step_t5_dropout": {"d_ff": 1024, "dropout_rate": 0.1},
    "step_bert_dropout": {"d_ff": 2048, "dropout_rate": 0.1, "architecture": "bert", "positions": "learned"},
}
ALONE = ("add_dropout", "rms_norm", "gated_gelu")
GOALS = dict.fromkeys((*ALONE, *STEPS), 1.0)

Work = Callable[[], object]


def measure(given: argparse.Namespace) -> frame.Outcome:
    """Run the rounds of every part."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    length = given.length
    steps = {name: _step(ModelConfig.model_validate(SHAPE | own), length) for name, own in STEPS.items()}
    works = {**_alone(SEQUENCES * length), **steps}

    def plain() -> Callable[[str], object]:
        def run(part: str) -> None:
            with mock.patch.object(operator, "fits", return_value=False):
                works[part]()

        return run

    def kernels() -> Callable[[str], object]:
        return lambda part: works[part]()

    for contender in (kernels, plain):
        for part in works:
            contender()(part)
    seconds = frame.interleaved({"kernels": kernels, "plain": plain}, list(works), given.rounds)
    ratios = {part: round(frame.median_ratio(by["plain"], by["kernels"]), 3) for part, by in seconds.items()}
    figures = {
        "milliseconds": {
            part: {name: round(1e3 * statistics.median(times), 2) for name, times in by.items()}
            for part, by in seconds.items()
        },
        "rows": SEQUENCES * length,
        "rounds": given.rounds,
    }
    return frame.Outcome("rows", figures, ratios, GOALS, libraries=("torch",))


def _alone(num_rows: int) -> dict[str, Work]:
    width, wide = 512, 1024
    x, residual, grad = (torch.randn(num_rows, width).bfloat16().requires_grad_() for _ in range(3))
    gate, up, wide_grad = (torch.randn(num_rows, wide).bfloat16().requires_grad_() for _ in range(3))
    weight = torch.ones(width).bfloat16().requires_grad_()
    drop = Dropout(0.1, stream_key(0, "benchmark"), torch.arange(num_rows), torch.zeros(num_rows, dtype=torch.int64))
    return {
        "add_dropout": lambda: torch.autograd.grad(rows.add_dropout(x, drop, residual), (x, residual), grad),
        "rms_norm": lambda: torch.autograd.grad(rows.rms_norm(x, weight, 1e-6), (x, weight), grad),
        "gated_gelu": lambda: torch.autograd.grad(rows.gated_gelu(gate, up), (gate, up), wide_grad),
    }


def _step(config: ModelConfig, length: int) -> Work:
    stack = Transformer(config, config.num_layers, config.positions, bidirectional=True, has_cross_attention=False)
    initialise(stack, config, 1)
    key_streams(stack, 1)
    stack = stack.bfloat16()
    num_rows = SEQUENCES * length
    view = Batch(
        tokens=torch.zeros(num_rows, dtype=torch.int32),
        positions=torch.arange(length, dtype=torch.int32).repeat(SEQUENCES),
        cu_seqlens=torch.arange(0, num_rows + 1, length, dtype=torch.int32),
        sample_rows=torch.arange(length, dtype=torch.int32).repeat(SEQUENCES),
        sample_positions=torch.arange(SEQUENCES).repeat_interleave(length),
    )
    pattern = IntervalPattern.full(view.cu_seqlens, num_rows, view.cu_seqlens, num_rows)
    x, grad = (torch.randn(num_rows, config.d_model).bfloat16().requires_grad_() for _ in range(2))
    leaves = (x, *stack.parameters())
    return lambda: torch.autograd.grad(stack(x, view, pattern), leaves, grad, allow_unused=True)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(prog="python -m benchmarks.rows", description=__doc__)
    made.add_argument("--rounds", type=int, default=9, help="of every contender, in turn (default 9)")
    made.add_argument("--length", type=int, default=512, help="rows of each of the eight sequences (default 512)")
    return made


if __name__ == "__main__":
    frame.main(parser(), measure)
