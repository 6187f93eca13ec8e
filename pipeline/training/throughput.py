"""How fast training is, beside how fast this machine can multiply matrices.

The FLOPs of a micro-batch are counted once, on a forward of the first one (every matrix product that torch runs), times
three for forward and backward. The peak is given, or a bf16 matrix product is timed at the start on every rank at once:
the ranks share the machine as they do in training. The best round counts, since others may be busy at the start too.
"""

import time

import torch
import torch.distributed as dist
from torch.utils.flop_counter import FlopCounterMode

from pipeline.batch import Views
from pipeline.training.engine import Engine

_SIZE = 1024
_ROUNDS, _ROUND_SECONDS = 8, 0.06
_FORWARD_AND_BACKWARD = 3


def measure_peak(device: torch.device) -> float:
    """FLOP/s of bf16 matrix products of 1024 x 1024 on this rank: the best of a few rounds, all ranks in step."""
    left, right = (torch.randn(_SIZE, _SIZE, device=device).to(torch.bfloat16) for _ in range(2))
    left @ right
    best = 0.0
    for _ in range(_ROUNDS):
        dist.barrier()
        best = max(best, _products_per_second(left, right))
    return 2.0 * _SIZE**3 * best


def _products_per_second(left: torch.Tensor, right: torch.Tensor) -> float:
    products, started = 0, time.perf_counter()
    while (seconds := time.perf_counter() - started) < _ROUND_SECONDS:
        left @ right
        products += 1
        if left.device.type == "cuda":
            torch.cuda.synchronize(left.device)
    return products / seconds


def count_flops(engine: Engine, views: Views) -> int:
    """FLOPs of forward and backward of one micro-batch on this rank. Collective (it runs a forward)."""
    engine.module.eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        engine.forward(views)
    engine.module.train()
    return _FORWARD_AND_BACKWARD * counter.get_total_flops()
