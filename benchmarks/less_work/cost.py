"""FLOPs and CPU time of a step: 3ML beside BERT, and T5 whose middle layers keep a share of the tokens.

Forward and backward in bfloat16, on windows of one shape, in turn.
"""

import argparse
import statistics
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks import frame
from pipeline.config import load_config
from pipeline.kernels.attention.flops import forward_flops
from pipeline.model.token_dropping import token_droppings
from pipeline.objectives import build_objective
from pipeline.training.assembly import open_data
from pipeline.training.loop import global_loss

Cost = dict[str, dict[str, float]]

SHARES = (1.0, 0.5, 0.25)
SIZE = "d_model: 256, d_kv: 64, d_ff: 1024, num_heads: 4"
MODELS = {
    "bert": f"{{architecture: bert, {SIZE}, num_layers: 12, positions: {{kind: learned, max_positions: 1024}}}}",
    "t5_span": f"{{{SIZE}, num_layers: 6}}",
}


def measure(folder: Path, given: argparse.Namespace) -> Cost:
    """GFLOP and CPU seconds of a step, by what takes it."""
    recipes = {"bert": ("bert", 1.0), "3ml": ("3ml", 1.0)}
    recipes |= {f"t5_span, {share:g} kept": ("t5_span", share) for share in SHARES}
    steps = {name: _step(folder, given, recipe, share) for name, (recipe, share) in recipes.items()}
    flops = {name: 3 * forward_flops(forward) for name, (forward, _) in steps.items()}
    seconds = frame.interleaved(
        {name: partial(_once_and_then, step) for name, (_, step) in steps.items()}, ["step"], given.rounds
    )
    return {
        name: {"gflop": flops[name] / 1e9, "cpu_seconds": statistics.median(seconds["step"][name])} for name in steps
    }


def _once_and_then(step: Callable[[], None]) -> Callable[[str], None]:
    """Warm up, and give what is timed."""
    step()
    return lambda _: step()


def _step(
    folder: Path, given: argparse.Namespace, recipe: str, share: float
) -> tuple[Callable[[], Any], Callable[[], None]]:
    """A forward of the first micro-batch of a recipe, and a whole step of it."""
    config = load_config(
        recipe,
        [
            "data.paths=[none]", f"data.dir={folder / 'read'}", f"run.dir={folder / recipe}",
            f"model={MODELS.get(recipe, MODELS['bert'])}", f"stream.window={given.window}",
            f"training.global_batch={given.batch}", f"training.micro_batch={given.batch}",
        ],
    )  # fmt: skip
    data = open_data(config)
    objective: Any = build_objective(config.objective, config.model, data.tokenizer.vocab_size, 0).bfloat16()
    for dropping in token_droppings(objective):
        dropping.kept_share = share
    views = data.micro_batches[0].to("cpu").views

    def loss() -> torch.Tensor:
        return global_loss(objective(views), objective.counts(views))

    def step() -> None:
        objective.zero_grad(set_to_none=True)
        loss().backward()

    return loss, step


def ratios(cost: Cost) -> dict[str, float | None]:
    def share(of: str, beside: str, what: str) -> float:
        return cost[of][what] / cost[beside][what]

    whole, *kept = (f"t5_span, {share:g} kept" for share in SHARES)
    ratios: dict[str, float | None] = {
        "three_ml_flops": share("3ml", "bert", "gflop"), "three_ml_time": share("3ml", "bert", "cpu_seconds"),
    }  # fmt: skip
    for name in kept:
        number = name.split()[1]
        ratios[f"kept_{number}_flops"] = share(name, whole, "gflop")
        ratios[f"kept_{number}_time"] = share(name, whole, "cpu_seconds")
    return ratios
