"""Contrast over several micro-batches of a step is that of one large one, with the graph of one at a time."""

from pathlib import Path
from typing import Any

import pytest
import torch

from pipeline.objectives import build_objective
from pipeline.training.assembly import open_data
from pipeline.training.loop import global_loss
from tests.recipes.small import small

GROUP = 16


def gradients(dataset: Path, micro_batch: int, begin: bool = True) -> tuple[float, dict[str, torch.Tensor], int]:
    """The loss of the first step, its gradients, and how often the encoder ran."""
    config = small(
        "cocondenser", dataset, f"objective.contrast.group={GROUP}", f"training.micro_batch={micro_batch}",
        "model.dropout_rate=0.1",
    )  # fmt: skip
    data = open_data(config)
    objective: Any = build_objective(config.objective, config.model, data.tokenizer.vocab_size, seed=3)
    runs: list[int] = []
    objective.model.encoder.register_forward_hook(lambda *_: runs.append(1))
    step = [data.micro_batches[first].to("cpu").views for first in range(0, GROUP, micro_batch)]
    counts: dict[str, int] = {}
    for views in step:
        for term, count in objective.counts(views).items():
            counts[term] = counts.get(term, 0) + count
    if begin:
        objective.begin_step(step, 1, objective)
    total = 0.0
    for views in step:
        loss = global_loss(objective(views), counts)
        loss.backward()
        total += loss.item()
    found = {name: p.grad for name, p in objective.named_parameters() if p.grad is not None}
    return total, found, len(runs)


def test_loss_and_gradients_are_those_of_one_micro_batch_dropout_included(dataset: Path) -> None:
    whole, expected, once = gradients(dataset, GROUP)
    parts, found, twice = gradients(dataset, 4)
    assert (once, twice) == (1, 8), "the encoder runs once more for each micro-batch"
    assert parts == pytest.approx(whole, rel=1e-6)  # float32, sums in another order
    assert found.keys() == expected.keys()
    scale = max(gradient.abs().max() for gradient in expected.values())
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-4, atol=1e-6 * float(scale), msg=name)


def test_without_the_cache_parts_of_a_group_are_refused(dataset: Path) -> None:
    with pytest.raises(Exception, match="must be a multiple of it"):
        gradients(dataset, 4, begin=False)
