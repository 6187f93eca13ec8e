"""With everything on, a run's losses are those of a plain loop of torch in float64 on the same samples and masks.

Everything: the kernels of attention, norms, gates, dropout and cross entropy, activation checkpointing, loader workers,
gradient accumulation, ZeRO, saves beside training. The plain loop has none of them: no kernel takes float64, so each
module runs its reference, on one rank, the whole global batch in one sum.
"""

from pathlib import Path
from typing import Any

import pytest
import torch

import pipeline.model.heads as heads
from pipeline.config import RunConfig, load_run
from pipeline.objectives import build_objective
from pipeline.training.assembly import open_data
from pipeline.training.schedule import step_plan

from .conftest import metrics, run_jobs

# Relative. float32: 24 bits a number, and eight steps of AdamW, which divides small gradients by themselves (6e-8 was
# seen). bfloat16: 8 bits a number, averaged over all rows (9e-4).
BOUNDS = {"fp32": 1e-6, "bf16": 5e-3}
EVERYTHING = {
    "zero_stage": 2, "global_batch": 4, "micro_batch": 1, "activation_checkpointing": True, "steps": 8,
    "sections": {"objective": {"kind": "denoising", "z_loss": 1e-4, "label_smoothing": 0.1}},
    "checkpoint": {"save_every": 4, "background": True},
}  # fmt: skip


def plain_cross_entropy(
    states: torch.Tensor, weight: torch.Tensor, labels: torch.Tensor, z_loss: float = 0.0, label_smoothing: float = 0.0,
    bias: torch.Tensor | None = None,
) -> torch.Tensor:  # fmt: skip
    logits = torch.nn.functional.linear(states, weight, bias)
    loss = torch.nn.functional.cross_entropy(logits, labels.long(), reduction="sum", label_smoothing=label_smoothing)
    return loss + z_loss * logits.logsumexp(-1).square().sum()


def plain_losses(config: RunConfig) -> list[float]:
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
        loss = sum(objective(views)["denoising"][0] for views in batches) / count
        loss.backward()
        torch.nn.utils.clip_grad_norm_(objective.parameters(), training.max_grad_norm)
        for group in optimizer.param_groups:
            group["lr"] = step_plan(training, step).learning_rate
        optimizer.step()
        found.append(loss.item())
    return found


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("ranks", [1, pytest.param(2, marks=pytest.mark.long)])
def test_losses_with_everything_on_are_those_of_the_plain_path(
    make_run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ranks: int
) -> None:
    runs = {
        precision: make_run(ranks=ranks, loader_workers=ranks - 1, precision=precision, **EVERYTHING)
        for precision in BOUNDS
    }
    run_jobs([{"run_dir": str(run)} for run in runs.values()], ranks, tmp_path)
    monkeypatch.setattr(heads, "linear_cross_entropy_sum", plain_cross_entropy)
    expected = plain_losses(load_run(runs["fp32"]))
    assert expected[-1] < 0.9 * expected[0]
    for precision, run in runs.items():
        reached = [record["loss"] for record in metrics(run) if "loss" in record]
        off_by = [abs(one - other) / other for one, other in zip(reached, expected, strict=True)]
        assert 0.0 < max(off_by) < BOUNDS[precision], (precision, off_by)
