"""One rank of test_engine.py: trains a small module under every ZeRO stage and beside it in plain torch.

Rank 0 writes report.json: what each stage did, next to what plain torch did on the whole global batch.
"""

import json
import sys
from pathlib import Path
from typing import Any

import torch
from deepspeed.utils import safe_get_full_grad
from torch import nn

from pipeline.checkpoint.format import KINDS
from pipeline.checkpoint.state import TrainingState
from pipeline.training.collective import sum_floats
from pipeline.training.config import TrainingConfig
from pipeline.training.engine import Engine
from pipeline.training.rank import Rank, join_process_group, rank_from_environment, set_threads

RATE, DECAY, CLIP = 1e-2, 0.1, 0.5
GLOBAL_MICRO_BATCHES = 6
STAGES = {
    "adamw/fp32": (0, 1, 2, 3),
    "adamw/bf16": (0, 1, 2, 3),
    "rms_adamw/fp32": (0, 1, 2, 3),
    "rms_adamw/bf16": (0, 2),  # of bf16 only the start differs: DeepSpeed steps before there are moments
}
STEPS = 3


class Toy(nn.Module):
    """Tied embedding, a matrix, and vectors whose sizes no number of ranks divides."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(1)
        self.embedding = nn.Parameter(torch.randn(37, 15, generator=generator) * 0.3)
        self.matrix = nn.Parameter(torch.randn(15, 15, generator=generator) * 0.3)
        self.scale = nn.Parameter(torch.ones(15))
        self.shift = nn.Parameter(torch.zeros(7))

    def forward(self, views: Any) -> dict[str, tuple[torch.Tensor, int]]:
        tokens, labels = views
        states = torch.tanh((self.embedding[tokens] * self.scale) @ self.matrix)
        logits = (states @ self.embedding.t()).float() + self.shift.repeat(6)[:37]
        return {"ce": (nn.functional.cross_entropy(logits, labels, reduction="sum"), int((labels >= 0).sum()))}


def micro_batch(step: int, number: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Tokens and labels; the number of labels differs from one to the next, and so from rank to rank."""
    generator = torch.Generator().manual_seed(1000 * step + number)
    tokens = torch.randint(0, 37, (24,), generator=generator)
    labels = torch.randint(0, 37, (24,), generator=generator)
    labels[3 + 3 * number :] = -100
    return tokens, labels


def plain_torch(steps: int, relative: bool = False) -> tuple[list[list[float]], dict[str, torch.Tensor]]:
    """[loss, gradient norm] of each step on the whole global batch, and the weights after it.

    `relative`: the step of each matrix, and not its decay, is multiplied by the RMS of its weights, at least 1e-3.
    """
    toy = Toy()
    optimizer = torch.optim.AdamW(
        [
            {"params": [toy.embedding, toy.matrix], "weight_decay": DECAY},
            {"params": [toy.scale, toy.shift], "weight_decay": 0.0},
        ],
        lr=RATE,
    )
    figures = []
    for step in range(steps):
        batches = [micro_batch(step, number) for number in range(GLOBAL_MICRO_BATCHES)]
        count = sum(int((labels >= 0).sum()) for _, labels in batches)
        optimizer.zero_grad()
        loss = sum((toy(views)["ce"][0] for views in batches), start=torch.zeros(())) / count
        loss.backward()
        norm = nn.utils.clip_grad_norm_(toy.parameters(), CLIP)
        before = {name: parameter.detach().clone() for name, parameter in toy.named_parameters()}
        optimizer.step()
        for name, parameter in toy.named_parameters() if relative else ():
            decayed = before[name] * (1 - RATE * DECAY * (parameter.ndim > 1))
            rms = before[name].square().mean().sqrt().clamp(min=1e-3)
            parameter.data.copy_(decayed + (parameter.data - decayed) * rms)
        figures.append([loss.item(), norm.item()])
    return figures, {name: parameter.detach() for name, parameter in toy.named_parameters()}


def plain_gradients() -> dict[str, torch.Tensor]:
    """The gradient of every parameter in the first step, from the whole global batch at once."""
    toy = Toy()
    batches = [micro_batch(0, number) for number in range(GLOBAL_MICRO_BATCHES)]
    count = sum(int((labels >= 0).sum()) for _, labels in batches)
    sum((toy(views)["ce"][0] / count for views in batches), start=torch.zeros(())).backward()
    return {name: parameter.grad for name, parameter in toy.named_parameters() if parameter.grad is not None}


def make_engine(rank: Rank, stage: int, precision: str, optimizer: str) -> Engine:
    config = TrainingConfig.model_validate(
        {
            "steps": 100, "global_batch": GLOBAL_MICRO_BATCHES, "micro_batch": 1, "ranks": rank.world_size,
            "zero_stage": stage, "precision": precision, "weight_decay": DECAY, "max_grad_norm": CLIP,
            "optimizer": optimizer,
        }
    )  # fmt: skip
    return Engine(Toy(), config, rank)


def train(engine: Engine, first: int, last: int, gradients: dict[str, torch.Tensor] | None = None) -> list[list[float]]:
    """[loss, gradient norm] of the steps first to last - 1; `gradients` gets those of the last one, before clipping."""
    ranks, figures = engine.rank.world_size, []
    for step in range(first, last):
        batches = [micro_batch(step, number) for number in range(GLOBAL_MICRO_BATCHES)]
        count = sum(int((labels >= 0).sum()) for _, labels in batches)
        mine, total = batches[engine.rank.index :: ranks], 0.0
        for number, views in enumerate(mine, start=1):
            loss, _ = engine.forward(views)["ce"]
            engine.backward(loss / count, last=number == len(mine))
            total += loss.item()
        if gradients is not None:
            gradients.update({name: full_gradient(parameter) for name, parameter in engine.parameters()})
        norm = engine.step(RATE)
        figures.append([sum_floats([total])[0] / count, norm])
    return figures


def full_gradient(parameter: nn.Parameter) -> torch.Tensor:
    """The gradient of the whole parameter that the optimizer is about to use. Collective."""
    gradient = safe_get_full_grad(parameter)
    return (parameter.grad if gradient is None else gradient).detach().float().clone()


def read_all(engine: Engine) -> dict[tuple[str, str], torch.Tensor]:
    state = TrainingState(engine)
    return {(name, kind): state.read(name, kind) for name in state.shapes for kind in KINDS}


def write_all(engine: Engine, saved: dict[tuple[str, str], torch.Tensor], num_updates: int) -> None:
    state = TrainingState(engine)
    for (name, kind), value in saved.items():
        state.write(name, kind, value)  # type: ignore[arg-type]
    state.finish_write(num_updates)


def equal(left: dict[Any, torch.Tensor], right: dict[Any, torch.Tensor]) -> bool:
    return left.keys() == right.keys() and all(torch.equal(left[key], right[key]) for key in left)


def main(folder: Path) -> None:
    rank = rank_from_environment()
    set_threads(rank, 1)
    join_process_group(rank)
    plain = {"adamw": plain_torch(STEPS), "rms_adamw": plain_torch(STEPS, relative=True)}
    expected_gradients = plain_gradients()
    report: dict[str, Any] = {"expected": {name: figures for name, (figures, _) in plain.items()}, "stages": {}}
    for kind, stages in STAGES.items():
        optimizer, precision = kind.split("/")
        saved, weights = None, plain[optimizer][1]
        for stage in stages:
            engine = make_engine(rank, stage, precision, optimizer)
            gradients: dict[str, torch.Tensor] = {}
            figures = [*train(engine, 0, 1, gradients), *train(engine, 1, STEPS)]
            own = read_all(engine)
            saved = saved or own
            straight = train(engine, STEPS, STEPS + 2)

            again = make_engine(rank, stage, precision, optimizer)
            write_all(again, own, STEPS)
            read_back = equal(read_all(again), own)
            resumed = train(again, STEPS, STEPS + 2)

            other = make_engine(rank, stage, precision, optimizer)  # the first stage's state, in this stage
            write_all(other, saved, STEPS)
            report["stages"][f"{optimizer}/{precision}/{stage}"] = {
                "figures": figures,
                "gradients_off_by": {
                    name: ((gradients[name] - value).norm() / value.norm()).item()
                    for name, value in expected_gradients.items()
                },
                "weights_off_by": max(
                    (own[name, "master"] - value).abs().max().item() for name, value in weights.items()
                ),
                "read_back": read_back,
                "resumed_bit_equal": resumed == straight,
                "other_stage_read_back": equal(read_all(other), saved),
                "other_stage": train(other, STEPS, STEPS + 1),
                "straight": straight,
            }
    if rank.is_first:
        (folder / "report.json").write_text(json.dumps(report), encoding="utf-8")
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
