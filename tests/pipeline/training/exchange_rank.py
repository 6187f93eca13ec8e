"""One rank of test_exchange.py: what each rank is given of its own, and what it has after the exchange."""

import sys
from pathlib import Path

import torch
import torch.distributed as dist

from pipeline.training.exchange import gather_parts, sum_parts
from pipeline.training.rank import join_process_group, rank_from_environment

SIZES = {0: (5, 3), 1: (), 2: (7,)}
"""Numbers in the gradients of what each rank owns."""


def gradients_of(rank: int) -> list[list[torch.Tensor]]:
    """By owner, as this rank has them before the exchange."""
    generator = torch.Generator().manual_seed(rank)
    return [[torch.randn(size, generator=generator).bfloat16() for size in SIZES[owner]] for owner in SIZES]


def main() -> None:
    rank = rank_from_environment()
    join_process_group(rank)
    group = dist.group.WORLD
    assert group is not None, "there is a process group"
    parts = gradients_of(rank.index)
    sum_parts(parts, group)
    weights = torch.full((3, 4), -1.0)
    weights[rank.index] = rank.index + torch.arange(4.0) / 8
    gather_parts(list(weights), group)
    torch.save({"own": parts[rank.index], "weights": weights}, Path(sys.argv[1]) / f"{rank.index}.pt")
    dist.barrier()


if __name__ == "__main__":
    main()
