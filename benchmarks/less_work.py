"""What ways to do less work per token cost and bring: Random-LTD, and 3ML beside BERT.

Part `cost`: FLOPs and CPU time of a step (forward and backward, bfloat16), in turn, of
- BERT and 3ML with 12 layers of one size, on the same windows (the paper: parity at 78 % of the compute);
- T5 whose middle layers keep all, a half and a quarter of the tokens.

Part `loss`: T5's span corruption trained by three plans from the same seeds,
- `whole`       everything, for all steps
- `random_ltd`  middle layers begin with a share and have everything in the last third; as many steps
- `shorter`     everything, for fewer steps: as many FLOPs as `random_ltd`
What Random-LTD saves at equal loss is its time beside what `whole` takes for that loss, on the line (in the logarithm
of FLOPs) between `shorter` and `whole`. The paper saves 33.3 % of the compute and 25.6 % of the time (GPT-3 1.3B).
"""

import argparse
import math
import statistics
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks import frame, small_runs
from launch.planning.formulas import Shape, forward_flops
from pipeline.config import RunConfig, load_config
from pipeline.evaluation.intervals import student_interval
from pipeline.kernels.attention.flops import forward_flops as counted_flops
from pipeline.model.token_dropping import token_droppings
from pipeline.objectives import build_objective
from pipeline.training.assembly import open_data
from pipeline.training.loop import global_loss

PAPER = {"three_ml_compute": 0.78, "random_ltd_compute_saved": 0.333, "random_ltd_time_saved": 0.256}
START, FULL_AT, RATE = 0.25, 2 / 3, 3e-3
SHARES = (1.0, 0.5, 0.25)
SIZE = "d_model: 256, d_kv: 64, d_ff: 1024, num_heads: 4"
MODELS = {
    "bert": f"{{architecture: bert, {SIZE}, num_layers: 12, positions: {{kind: learned, max_positions: 1024}}}}",
    "t5_span": f"{{{SIZE}, num_layers: 6}}",
}


def measure(given: argparse.Namespace) -> frame.Outcome:
    """The parts that were asked for."""
    torch.set_num_threads(given.threads)
    figures: dict[str, Any] = {"paper": PAPER}
    ratios: dict[str, float | None] = {}
    with tempfile.TemporaryDirectory(prefix="less-work-") as name:
        small_runs.write_corpus(Path(name), given.megabytes)
        if "cost" in given.parts:
            figures["cost"] = _cost(Path(name), given)
            ratios |= _cost_ratios(figures["cost"])
        if "loss" in given.parts:
            figures["loss"] = _loss(Path(name), given)
            ratios |= {
                name: figures["loss"][name]["mean"] for name in ("compute_saved", "time_saved", "saved_at_equal_loss")
            }
    return frame.Outcome("less_work", figures, ratios, {}, ("torch",))


def _cost(folder: Path, given: argparse.Namespace) -> dict[str, dict[str, float]]:
    """GFLOP and CPU seconds of a step, by what takes it."""
    recipes = {"bert": ("bert", 1.0), "3ml": ("3ml", 1.0)}
    recipes |= {f"t5_span, {share:g} kept": ("t5_span", share) for share in SHARES}
    steps = {name: _step(folder, given, recipe, share) for name, (recipe, share) in recipes.items()}
    flops = {name: 3 * counted_flops(forward) for name, (forward, _) in steps.items()}
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


def _cost_ratios(cost: dict[str, dict[str, float]]) -> dict[str, float | None]:
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


def _loss(folder: Path, given: argparse.Namespace) -> dict[str, Any]:
    """Losses, CPU seconds and FLOPs by plan, and what is saved, with Student's intervals over the seeds."""
    ltd = f"training.random_ltd={{start_share: {START}, full_at_step: {round(FULL_AT * given.steps)}}}"
    flops = {"whole": _training_flops(_plan(folder, given, 0, given.steps))}
    flops["random_ltd"] = _training_flops(_plan(folder, given, 0, given.steps, ltd))
    fewer = round(given.steps * flops["random_ltd"] / flops["whole"])
    flops["shorter"] = _training_flops(_plan(folder, given, 0, fewer))
    plans = {"whole": (given.steps, ()), "random_ltd": (given.steps, (ltd,)), "shorter": (fewer, ())}
    found: dict[str, list[small_runs.Trained]] = {name: [] for name in plans}
    asked = small_runs.run_config(folder / "asked", 0, given.steps, given.windows)
    for seed in range(given.seeds):
        for name, (steps, own) in plans.items():
            found[name].append(small_runs.train(_plan(folder, given, seed, steps, *own), asked))
            last = found[name][-1]
            frame.note(f"seed {seed}, {name}: {last.loss:.4f} after {last.cpu_seconds:.1f} CPU seconds")
    seconds = {name: [run.cpu_seconds for run in runs] for name, runs in found.items()}
    losses = {name: [run.loss for run in runs] for name, runs in found.items()}
    saved = [
        1 - ours / _needed(whole, loss, losses_of, flops)
        for whole, ours, loss, losses_of in zip(
            seconds["whole"], seconds["random_ltd"], losses["random_ltd"],
            zip(losses["shorter"], losses["whole"], strict=True), strict=True,
        )
    ]  # fmt: skip
    return {
        "heldout_loss": losses, "cpu_seconds": seconds, "training_gflop": {n: f / 1e9 for n, f in flops.items()},
        "steps": {name: steps for name, (steps, _) in plans.items()},
        "loss_beside_whole": _interval(losses["random_ltd"], losses["whole"]),
        "loss_beside_shorter": _interval(losses["random_ltd"], losses["shorter"]),
        "compute_saved": student_interval([1 - flops["random_ltd"] / flops["whole"]]).as_json(),
        "time_saved": student_interval(
            [1 - ours / whole for ours, whole in zip(seconds["random_ltd"], seconds["whole"], strict=True)]
        ).as_json(),
        "saved_at_equal_loss": student_interval(saved).as_json(),
    }  # fmt: skip


def _needed(seconds: float, loss: float, losses: tuple[float, float], flops: dict[str, int]) -> float:
    """The seconds that training on everything takes to `loss`, of the `seconds` that all its steps take.

    `losses` are those of `shorter` and `whole`: a line through both in the logarithm of FLOPs.
    """
    shorter, whole = losses
    fewer, all_of_them = math.log(flops["shorter"]), math.log(flops["whole"])
    at = fewer + (all_of_them - fewer) * (shorter - loss) / (shorter - whole)
    return seconds * math.exp(at - all_of_them)


def _interval(ours: list[float], others: list[float]) -> dict[str, float | None]:
    return student_interval((np.array(ours) - np.array(others)).tolist()).as_json()


def _plan(folder: Path, given: argparse.Namespace, seed: int, steps: int, *own: str) -> RunConfig:
    model = (
        f"model={{d_model: {given.width}, d_kv: 16, d_ff: {3 * given.width}, num_layers: {given.layers}, num_heads: 6}}"
    )
    return small_runs.run_config(
        folder / "read", seed, steps, given.windows, model, "model.dropout_rate=0.0",
        f"training.learning_rate={RATE}", *own,
    )  # fmt: skip


def _training_flops(config: RunConfig) -> int:
    """Of a whole run, whose windows are one document each."""
    window, pieces = config.stream.window, config.stream.max_pieces
    rows = config.corruption.max_rows(window, pieces)
    shape = Shape(rows["encoder"], rows["decoder"], config.corruption.max_targets(window, pieces))
    ltd, steps = config.training.random_ltd, config.training.steps
    shares = ltd.shares(0, steps) if ltd else [(1.0, steps)]
    forward = sum(count * forward_flops(config.model, 1024, shape, share) for share, count in shares)
    return 3 * config.training.global_batch * forward


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(prog="python -m benchmarks.less_work", description=__doc__)
    made.add_argument("--parts", nargs="+", choices=("cost", "loss"), default=("cost", "loss"), help="default: both")
    made.add_argument("--rounds", type=int, default=7, help="of part cost (default 7)")
    made.add_argument("--window", type=int, default=510, help="tokens of a window of part cost (default 510)")
    made.add_argument("--batch", type=int, default=4, help="windows of a step of part cost (default 4)")
    made.add_argument("--steps", type=int, default=400, help="updates of a run of part loss (default 400)")
    made.add_argument("--windows", type=int, default=8, help="windows of 126 tokens in an update (default 8)")
    made.add_argument("--layers", type=int, default=6, help="of encoder and decoder each, part loss (default 6)")
    made.add_argument("--width", type=int, default=96, help="of the model, part loss (default 96)")
    made.add_argument("--seeds", type=int, default=3, help="runs of each plan (default 3)")
    made.add_argument("--megabytes", type=float, default=4.0, help="of code (default 4)")
    made.add_argument("--threads", type=int, default=1, help="default 1")
    return made


if __name__ == "__main__":
    frame.main(parser(), measure)
