"""The held-out loss: the first samples of the held-out stream, always with the same masks, spread over the ranks.

Invariant: the loss is "sum over the samples / count", for any number of ranks. Every rank runs the same number of
forwards (ZeRO-3 gathers weights in each); one that has nothing left repeats a micro-batch and does not count it.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch

from pipeline.batch import MicroBatch, Views
from pipeline.training.collective import sum_integers
from pipeline.training.engine import Engine, Terms
from pipeline.training.loader import SampleSource, ViewMaker
from pipeline.training.loop import global_means


@dataclass(frozen=True)
class HeldOut:
    """What an evaluation reads: the samples [0, num_samples) of `source` laid out by `maker`."""

    source: SampleSource
    maker: ViewMaker
    num_samples: int
    micro_batch: int

    def micro_batch_at(self, number: int) -> MicroBatch:
        """Micro-batch `number` of the evaluation (the last one may hold fewer samples)."""
        first = number * self.micro_batch
        return self.maker.apply(self.source.samples(first, min(self.micro_batch, self.num_samples - first)))

    def of_rank(self, rank: int, world_size: int) -> Iterator[tuple[MicroBatch, bool]]:
        """This rank's micro-batches, and whether each counts."""
        total = -(-self.num_samples // self.micro_batch)
        for first in range(0, total, world_size):
            counts = first + rank < total
            yield self.micro_batch_at(first + rank if counts else first), counts


def evaluate(engine: Engine, heldout: HeldOut) -> dict[str, float]:
    """Mean held-out loss by term. Collective."""
    rank = engine.rank
    engine.module.eval()
    sums, counts = rank_sums(engine.forward, heldout, rank.index, rank.world_size, rank.device)
    engine.module.train()
    return global_means(sums, dict(zip(counts, sum_integers(list(counts.values())), strict=True)))


@torch.no_grad()
def rank_sums(
    forward: Callable[[Views], Terms], heldout: HeldOut, rank: int, world_size: int, device: torch.device
) -> tuple[dict[str, float], dict[str, int]]:
    """One rank's sums and counts by term, in the order that training adds them."""
    sums: dict[str, float] = {}
    counts: dict[str, int] = {}
    for micro_batch, counted in heldout.of_rank(rank, world_size):
        for term, (total, count) in forward(micro_batch.placed(device).views).items():
            sums[term] = sums.get(term, 0.0) + total.item() * counted
            counts[term] = counts.get(term, 0) + count * counted
    return sums, counts


def means_of_ranks(forward: Callable[[Views], Terms], heldout: HeldOut, world_size: int) -> dict[str, float]:
    """`evaluate` in one process on the CPU, added up as `world_size` ranks did."""
    sums: dict[str, float] = {}
    counts: dict[str, int] = {}
    for rank in range(world_size):
        own, counted = rank_sums(forward, heldout, rank, world_size, torch.device("cpu"))
        for term, total in own.items():
            sums[term] = sums.get(term, 0.0) + total
            counts[term] = counts.get(term, 0) + counted[term]
    return {term: total / max(counts[term], 1) for term, total in sums.items()}
