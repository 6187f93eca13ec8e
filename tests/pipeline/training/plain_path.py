"""A plain loop of torch in float64 beside a run: the same samples and masks, on one rank, the global batch in one sum.

No kernel takes float64, so each module runs its reference; the loss is torch's own, of all logits at once.
"""

from pathlib import Path
from typing import Any
from unittest import mock

import torch

import pipeline.model.heads as heads
from pipeline.config import load_run
from pipeline.objectives import build_objective
from pipeline.training.assembly import open_data
from pipeline.training.schedule import step_plan

from .conftest import metrics

# Relative. float32: 24 bits a number, and a dozen steps of AdamW, which divides small gradients by themselves (6e-8 was
# seen). bfloat16: 8 bits a number, averaged over all rows (9e-4).
BOUNDS = {"fp32": 1e-6, "bf16": 5e-3}


def check_losses(run_dir: Path) -> None:
    """The run's losses are the plain loop's, within what its precision allows."""
    reached = [record["loss"] for record in metrics(run_dir) if "loss" in record]
    expected = plain_losses(run_dir)
    assert expected[-1] < expected[0]
    off_by = [abs(one - other) / other for one, other in zip(reached, expected, strict=True)]
    assert 0.0 < max(off_by) < BOUNDS[load_run(run_dir).training.precision], off_by


def plain_cross_entropy(
    states: torch.Tensor, weight: torch.Tensor, labels: torch.Tensor, z_loss: float = 0.0, label_smoothing: float = 0.0,
    bias: torch.Tensor | None = None,
) -> torch.Tensor:  # fmt: skip
    logits = torch.nn.functional.linear(states, weight, bias)
    loss = torch.nn.functional.cross_entropy(logits, labels.long(), reduction="sum", label_smoothing=label_smoothing)
    return loss + z_loss * logits.logsumexp(-1).square().sum()


def plain_losses(run_dir: Path) -> list[float]:
    """Of every step."""
    config = load_run(run_dir)
    data, training = open_data(config), config.training
    objective: Any = build_objective(config.objective, config.model, data.tokenizer.vocab_size, config.run.seed)
    objective.double()
    matrices, vectors = ([p for p in objective.parameters() if (p.ndim > 1) == wanted] for wanted in (True, False))
    groups = [
        {"params": matrices, "weight_decay": training.weight_decay}, {"params": vectors, "weight_decay": 0.0},
    ]  # fmt: skip
    optimizer = torch.optim.AdamW(groups, betas=training.betas, eps=training.eps)
    found = []
    for step in range(training.steps):
        first = step * training.global_batch
        batches = [data.micro_batches[first + number].to("cpu").views for number in range(training.global_batch)]
        count = sum(objective.counts(views)["denoising"] for views in batches)
        optimizer.zero_grad()
        with mock.patch.object(heads, "linear_cross_entropy_sum", plain_cross_entropy):
            loss = sum(objective(views)["denoising"][0] for views in batches) / count
        loss.backward()
        torch.nn.utils.clip_grad_norm_(objective.parameters(), training.max_grad_norm)
        for group in optimizer.param_groups:
            group["lr"] = step_plan(training, step).learning_rate
        optimizer.step()
        found.append(loss.item())
    return found
