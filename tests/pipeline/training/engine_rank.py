"""One rank of test_engine.py: trains a small module under every ZeRO stage and beside it in plain torch.

Rank 0 writes report.json: what each stage did, next to what plain torch did on the whole global batch.
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from deepspeed.utils import safe_get_full_grad
from torch import nn

from pipeline.checkpoint.format import Kind
from pipeline.checkpoint.state import TrainingState
from pipeline.evaluation.embeddings import token_embedding_variability
from pipeline.training.collective import sum_floats
from pipeline.training.config import TrainingConfig
from pipeline.training.embedding_table import EmbeddingTable
from pipeline.training.engine import Engine
from pipeline.training.rank import Rank, join_process_group, rank_from_environment, set_threads

RATE, DECAY, CLIP = 1e-2, 0.1, 0.5
GLOBAL_MICRO_BATCHES = 6
STEPS = 3
TOKENS = 35
"""The last two rows of the embedding are taken for padding."""


Weights = dict[str, torch.Tensor]
Stepper = Callable[[], None]


class Layer(nn.Module):
    """A hidden matrix."""

    def __init__(self, generator: torch.Generator) -> None:
        super().__init__()
        self.matrix = nn.Parameter(torch.randn(15, 15, generator=generator) * 0.3)


class Toy(nn.Module):
    """Tied embedding, matrices, and vectors whose sizes no number of ranks divides.

    Of the three matrices, one after another in ZeRO's flat partitions, the border of two ranks cuts the second.
    """

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(1)
        self.embedding = nn.Parameter(torch.randn(37, 15, generator=generator) * 0.3)
        self.blocks = nn.ModuleList(Layer(generator) for _ in range(3))
        self.scale = nn.Parameter(torch.ones(15))
        self.shift = nn.Parameter(torch.zeros(7))
        self.averages: Weights = {}

    def forward(self, views: Any) -> dict[str, tuple[torch.Tensor, int]]:
        tokens, labels = views
        states = self.embedding[tokens] * self.scale
        for layer in self.blocks:
            states = torch.tanh(states @ layer.matrix)
        logits = (states @ self.embedding.t()).float() + self.shift.repeat(6)[:37]
        return {"ce": (nn.functional.cross_entropy(logits, labels, reduction="sum"), int((labels >= 0).sum()))}


def micro_batch(step: int, number: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Tokens and labels; the number of labels differs from one to the next, and so from rank to rank."""
    generator = torch.Generator().manual_seed(1000 * step + number)
    tokens = torch.randint(0, 37, (24,), generator=generator)
    labels = torch.randint(0, 37, (24,), generator=generator)
    labels[3 + 3 * number :] = -100
    return tokens, labels


def plain_torch(steps: int, optimizer: str) -> tuple[list[list[float]], Weights]:
    """[loss, gradient norm] of each step on the whole global batch, and the weights after it."""
    toy = Toy()
    stepper = {"adamw": adamw, "rms_adamw": rms_adamw, "lion": lion, "muon": muon}.get(optimizer, schedule_free)(toy)
    figures = []
    for step in range(steps):
        batches = [micro_batch(step, number) for number in range(GLOBAL_MICRO_BATCHES)]
        count = sum(int((labels >= 0).sum()) for _, labels in batches)
        toy.zero_grad()
        loss = sum((toy(views)["ce"][0] for views in batches), start=torch.zeros(())) / count
        loss.backward()
        norm = nn.utils.clip_grad_norm_(toy.parameters(), CLIP)
        stepper()
        figures.append([loss.item(), norm.item()])
    return figures, toy.averages or {name: parameter.detach() for name, parameter in toy.named_parameters()}


def decayed(weights: torch.Tensor) -> torch.Tensor:
    return weights * (1 - RATE * DECAY * (weights.ndim > 1))


def adamw(toy: Toy) -> Stepper:
    matrices = [toy.embedding, *(layer.matrix for layer in toy.blocks)]
    vectors = {"params": [toy.scale, toy.shift], "weight_decay": 0.0}
    return torch.optim.AdamW([{"params": matrices, "weight_decay": DECAY}, vectors], lr=RATE).step


def rms_adamw(toy: Toy) -> Stepper:
    """The step of each matrix, and not its decay, is multiplied by the RMS of its weights, at least 1e-3."""
    step = adamw(toy)

    def scaled() -> None:
        before = {name: parameter.detach().clone() for name, parameter in toy.named_parameters()}
        step()
        for name, parameter in toy.named_parameters():
            rms = before[name].square().mean().sqrt().clamp(min=1e-3)
            kept = decayed(before[name])
            parameter.data.copy_(kept + (parameter.data - kept) * rms)

    return scaled


def lion(toy: Toy) -> Stepper:
    """Chen et al. 2023, Algorithm 2, with its betas."""
    means = {name: torch.zeros_like(parameter) for name, parameter in toy.named_parameters()}

    def step() -> None:
        for name, parameter in toy.named_parameters():
            assert parameter.grad is not None
            update = torch.sign(0.9 * means[name] + 0.1 * parameter.grad)
            parameter.data.copy_(decayed(parameter.data) - RATE * update)
            means[name] = 0.99 * means[name] + 0.01 * parameter.grad

    return step


def muon(toy: Toy) -> Stepper:
    """Its five steps of Newton and Schulz act on singular values alone: here they do, in float64."""
    matrices = [layer.matrix for layer in toy.blocks]
    means = [torch.zeros_like(matrix) for matrix in matrices]
    table = {"params": [toy.embedding], "weight_decay": DECAY}
    other = torch.optim.AdamW([table, {"params": [toy.scale, toy.shift], "weight_decay": 0.0}], lr=RATE)

    def step() -> None:
        for matrix, mean in zip(matrices, means, strict=True):
            assert matrix.grad is not None
            mean.copy_(0.95 * mean + 0.05 * matrix.grad)
            u, s, v = torch.linalg.svd((0.05 * matrix.grad + 0.95 * mean).double())
            s = s / s.norm()
            for _ in range(5):
                s = 3.4445 * s - 4.7750 * s**3 + 2.0315 * s**5
            update = 0.2 * max(matrix.shape) ** 0.5 * (u * s @ v)
            matrix.data.copy_(decayed(matrix.data) - RATE * update)
        other.step()

    return step


def schedule_free(toy: Toy) -> Stepper:
    """Defazio et al. 2024, Algorithm 1, at one rate; `toy.averages` are what is evaluated."""
    toy.averages = {name: parameter.detach().clone() for name, parameter in toy.named_parameters()}
    z = {name: value.clone() for name, value in toy.averages.items()}
    squares = {name: torch.zeros_like(value) for name, value in z.items()}
    steps = 0

    def step() -> None:
        nonlocal steps
        steps += 1
        for name, y in toy.named_parameters():
            assert y.grad is not None
            squares[name] = 0.999 * squares[name] + 0.001 * y.grad**2
            update = y.grad / ((squares[name] / (1 - 0.999**steps)).sqrt() + 1e-8)
            z[name] = z[name] - RATE * (update + DECAY * (y.ndim > 1) * y.detach())
            toy.averages[name] = (1 - 1 / steps) * toy.averages[name] + z[name] / steps
            y.data.copy_(0.1 * z[name] + 0.9 * toy.averages[name])

    return step


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
            "optimizer": optimizer, "schedule": {"kind": "constant"},
        }
    )  # fmt: skip
    return Engine(Toy(), config, rank, table=EmbeddingTable("embedding", TOKENS))


def train(engine: Engine, first: int, last: int, gradients: dict[str, torch.Tensor] | None = None) -> list[list[float]]:
    """[loss, gradient norm] of the steps first to last - 1; `gradients` gets those of the last one, before clipping."""
    ranks, figures = engine.rank.world_size, []
    for step in range(first, last):
        engine.observe(step == STEPS - 1)
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


def read_all(engine: Engine) -> dict[tuple[str, Kind], torch.Tensor]:
    state = TrainingState(engine)
    both: dict[Kind, Any] = {"exp_avg": state.shapes, "exp_avg_sq": state.shapes}
    kinds: dict[Kind, Any] = {"master": state.shapes, **(state.moments or both)}
    return {(name, kind): state.read(name, kind) for kind, names in kinds.items() for name in names}


def write_all(engine: Engine, saved: dict[tuple[str, Kind], torch.Tensor], num_updates: int) -> None:
    state = TrainingState(engine)
    for (name, kind), value in saved.items():
        state.write(name, kind, value)
    state.finish_write(num_updates)


def equal(left: dict[Any, torch.Tensor], right: dict[Any, torch.Tensor]) -> bool:
    return left.keys() == right.keys() and all(torch.equal(left[key], right[key]) for key in left)


def main(folder: Path, stages_by_kind: dict[str, list[int]]) -> None:
    rank = rank_from_environment()
    set_threads(rank, 1)
    join_process_group(rank)
    plain = {optimizer: plain_torch(STEPS, optimizer) for optimizer in {kind.split("/")[0] for kind in stages_by_kind}}
    expected_gradients = plain_gradients()
    report: dict[str, Any] = {"expected": {name: figures for name, (figures, _) in plain.items()}, "stages": {}}
    for kind, stages in stages_by_kind.items():
        optimizer, precision = kind.split("/")
        saved, weights = None, plain[optimizer][1]
        for stage in stages:
            engine = make_engine(rank, stage, precision, optimizer)
            gradients: dict[str, torch.Tensor] = {}
            figures = [*train(engine, 0, 1, gradients), *train(engine, 1, STEPS)]
            own, observed = read_all(engine), engine.statistics()
            saved = saved or own
            engine_sums = engine.weight_sums
            straight = train(engine, STEPS, STEPS + 2)

            again = make_engine(rank, stage, precision, optimizer)
            write_all(again, own, STEPS)
            again.weight_sums = engine_sums
            read_back = equal(read_all(again), own)
            resumed = train(again, STEPS, STEPS + 2)

            write_all(again, saved, STEPS)  # the first stage's state, in this stage, over whatever is there
            again.weight_sums = engine_sums
            report["stages"][f"{optimizer}/{precision}/{stage}"] = {
                "figures": figures,
                "gradients_off_by": {
                    name: ((gradients[name] - value).norm() / value.norm()).item()
                    for name, value in expected_gradients.items()
                },
                "weights_off_by": max(
                    (own[name, "master"] - value).abs().max().item() for name, value in weights.items()
                ),
                "variability": [observed["embedding/tev"], observed["embedding/tev_deviation"]],
                "variability_of_masters": token_embedding_variability(own["embedding", "master"][:TOKENS]),
                "read_back": read_back,
                "resumed_bit_equal": resumed == straight,
                "other_stage_read_back": equal(read_all(again), saved),
                "other_stage": train(again, STEPS, STEPS + 1),
                "straight": straight,
            }
    if rank.is_first:
        (folder / "report.json").write_text(json.dumps(report), encoding="utf-8")
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]), json.loads(sys.argv[2]))
