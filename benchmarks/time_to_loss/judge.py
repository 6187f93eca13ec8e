"""The held-out loss that all contenders are judged by: transformers' own, in float32, on the same padded batches."""

import itertools
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch.nn import functional

from benchmarks.train_step.corpus import IGNORED, collated

BATCH, BATCHES = 16, 8


class Point(NamedTuple):
    """Where a training stands."""

    step: int
    tokens: int  # real ones, of input and target, that the updates have seen
    seconds: float  # of steps alone: no start, no evaluation, no save
    loss: float  # held-out, nats for each target token


class Judge:
    """Held-out documents as the usual collator corrupts them, always in the same way."""

    def __init__(self, dataset: Path, window: int) -> None:
        made = itertools.islice(collated(dataset, "heldout", window, BATCH, seed=1), BATCHES)
        self._batches = [{name: torch.from_numpy(values) for name, values in batch.items()} for batch in made]
        if not self._batches:
            raise SystemExit(f"{dataset}: too few held-out documents for a batch of {BATCH}")

    @torch.no_grad()
    def loss(self, model: Any) -> float:
        """The mean over all target tokens; `model` is transformers' T5, left as it was."""
        was_training, total, count = model.training, 0.0, 0
        model.eval()
        for batch in self._batches:
            labels = batch["labels"]
            logits = model(**batch).logits
            total += float(
                functional.cross_entropy(
                    logits.flatten(0, 1).float(), labels.flatten(), ignore_index=IGNORED, reduction="sum"
                )
            )
            count += int((labels != IGNORED).sum())
        model.train(was_training)
        return total / count


def reached(curve: Iterable[Point], loss: float) -> Point | None:
    """The place on the lines between the points of a curve where it first comes down to `loss`; None if it does not."""
    before: Point | None = None
    for point in curve:
        if point.loss <= loss:
            if before is None:
                return point
            share = (before.loss - loss) / (before.loss - point.loss)
            between = [low + share * (high - low) for low, high in zip(before, point, strict=True)]
            return Point(round(between[0]), round(between[1]), between[2], loss)
        before = point
    return None
