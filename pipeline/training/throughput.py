"""How fast training is, beside how fast this machine can multiply matrices.

The FLOPs of a row are counted on a forward of the first micro-batch (pipeline/kernels/attention/flops.py), times three
for forward and backward: one formula for metrics, progress, reports and `spanwright plan`. They are counted again where
a phase has other shapes, or layers keep another share of the tokens. A step's are those of its rows.

The peak is given, or measured: products of 1024 x 1024 in training's precision, on every rank at once, since the ranks
share the machine as they do in training. The best round counts. Others may be busy at the start, so it is measured
again after some steps, and is never less than what a step of training has reached.
"""

import time
from collections.abc import Callable

import torch
import torch.distributed as dist

from pipeline.batch import Views
from pipeline.kernels.attention.flops import forward_flops
from pipeline.model.token_dropping import token_droppings
from pipeline.phases import phase_at
from pipeline.training.assembly import Data
from pipeline.training.engine import Engine
from pipeline.training.loop import StepReport

FORWARD_AND_BACKWARD = 3
_SIZE = 1024
_ROUNDS, _ROUND_SECONDS = 8, 0.06
_AGAIN = frozenset({3, 10, 30, 100, 300, 1000})  # steps since the start


class Peak:
    """What matrix products of this rank reach, in FLOP/s."""

    def __init__(self, flops_per_second: float) -> None:
        self.flops_per_second = flops_per_second

    def share(self, flops_per_second: float) -> float:
        """The part of the peak that training reached; a given peak may be too low, and then it is more than 1."""
        return flops_per_second / self.flops_per_second


class MeasuredPeak(Peak):
    """A peak that is measured when it is made, and again as a hook on every rank."""

    def __init__(self, device: torch.device, dtype: torch.dtype) -> None:
        super().__init__(0.0)
        self._left, self._right = (torch.randn(_SIZE, _SIZE, device=device).to(dtype) for _ in range(2))
        self._steps = 0
        self._left @ self._right
        self._measure(_ROUNDS)

    def __call__(self, report: StepReport) -> None:
        """After a training step. Collective."""
        self._steps += 1
        if self._steps in _AGAIN:
            self._measure(1)

    def share(self, flops_per_second: float) -> float:
        """At most 1: a machine can do what it has done."""
        self.flops_per_second = max(self.flops_per_second, flops_per_second)
        return super().share(flops_per_second)

    def _measure(self, rounds: int) -> None:
        for _ in range(rounds):
            dist.barrier()
            reached = 2.0 * _SIZE**3 * _products_per_second(self._left, self._right)
            self.flops_per_second = max(self.flops_per_second, reached)


def _products_per_second(left: torch.Tensor, right: torch.Tensor) -> float:
    products, started = 0, time.perf_counter()
    while (seconds := time.perf_counter() - started) < _ROUND_SECONDS:
        left @ right
        products += 1
        if left.device.type == "cuda":
            torch.cuda.synchronize(left.device)
    return products / seconds


class StepFlops:
    """FLOPs of a step on one rank, as its phase and the share of tokens that it keeps have them; a hook on every rank.

    Those of a row are counted when a phase or share first comes, on the phase's first micro-batch, so that a resumed
    run writes the same figures.
    """

    def __init__(self, engine: Engine, data: Data, told: Callable[[int], None] | None = None) -> None:
        """`told` is called with the figure of each step before what comes after this hook."""
        self._engine, self._batches = engine, data.micro_batches
        self._starts, self._told = data.stream.starts, told
        self._of_a_row: dict[tuple[int, float | None], float] = {}

    def __call__(self, report: StepReport) -> None:
        """After a training step. Collective."""
        of_a_row = self.count(report.progress.position - 1, report.kept_share)
        if self._told is not None:
            self._told(round(of_a_row * report.tokens / self._engine.rank.world_size))

    def count(self, position: int, kept_share: float | None) -> float:
        """Those of a row in a step that reads the sample at `position`. Collective, where they were not counted yet."""
        phase = phase_at(self._starts, position)
        if (phase, kept_share) not in self._of_a_row:
            views = self._batches[self._starts[phase]].placed(self._engine.rank.device).views
            rows = sum(view.num_rows for view in views.values())
            self._of_a_row[phase, kept_share] = count_flops(self._engine, views, kept_share) / max(rows, 1)
        return self._of_a_row[phase, kept_share]


def count_flops(engine: Engine, views: Views, kept_share: float | None = None) -> int:
    """FLOPs of forward and backward of one micro-batch on this rank. Collective (it runs a forward)."""
    engine.module.eval()
    engine.keep_tokens(kept_share)
    for dropping in token_droppings(engine.module):
        dropping.train()
    counted = forward_flops(lambda: engine.forward(views))
    engine.module.train()
    engine.forward_time.take()  # it was no part of a step
    return FORWARD_AND_BACKWARD * counted
