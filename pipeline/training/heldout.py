"""The held-out loss: the first samples of the held-out stream, always with the same masks, spread over the ranks.

Invariant: the loss is "sum over the samples / count", for any number of ranks. Every rank runs the same number of
forwards (ZeRO-3 gathers weights in each); one that has nothing left repeats a micro-batch and does not count it.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from pipeline.batch import MicroBatch
from pipeline.training.collective import sum_integers
from pipeline.training.engine import Engine
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
        return self.maker.apply(
            [self.source.sample(p) for p in range(first, min(first + self.micro_batch, self.num_samples))]
        )

    def of_rank(self, rank: int, world_size: int) -> Iterator[tuple[MicroBatch, bool]]:
        """This rank's micro-batches, and whether each counts."""
        total = -(-self.num_samples // self.micro_batch)
        for first in range(0, total, world_size):
            counts = first + rank < total
            yield self.micro_batch_at(first + rank if counts else first), counts


def evaluate(engine: Engine, heldout: HeldOut) -> dict[str, float]:
    """Mean held-out loss by term. Collective."""
    rank = engine.rank
    sums: dict[str, float] = {}
    counts: dict[str, int] = {}
    engine.module.eval()
    with torch.no_grad():
        for micro_batch, counted in heldout.of_rank(rank.index, rank.world_size):
            terms = engine.forward(micro_batch.to(rank.device).views)
            for term, (total, count) in terms.items():
                sums[term] = sums.get(term, 0.0) + total.item() * counted
                counts[term] = counts.get(term, 0) + count * counted
    engine.module.train()
    return global_means(sums, dict(zip(counts, sum_integers(list(counts.values())), strict=True)))
