"""T5's span corruption trained by several plans from the same seeds: what their losses and their time are.

What a plan saves at equal loss is its FLOPs, or its time, beside what `whole` takes for that loss, on the line (in the
logarithm of FLOPs) between `shorter` and `whole`.
"""

import argparse
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks import frame, small_runs
from benchmarks.small_runs import WINDOW, Trained
from launch.planning.formulas import Shape, forward_flops
from pipeline.config import RunConfig
from pipeline.evaluation.intervals import student_interval

START, FULL_AT, RATE = 0.25, 2 / 3, 3e-3


class Plan(NamedTuple):
    """So many steps, and what is different from training on everything."""

    steps: int
    own: tuple[str, ...] = ()


def random_ltd(folder: Path, given: argparse.Namespace) -> dict[str, Any]:
    """Losses, CPU seconds and FLOPs by plan, and what is saved, with Student's intervals over the seeds."""
    ltd = f"training.random_ltd={{start_share: {START}, full_at_step: {round(FULL_AT * given.steps)}}}"
    plans = {"whole": Plan(given.steps), "random_ltd": Plan(given.steps, (ltd,))}
    flops = {name: _training_flops(_config(folder, given, 0, plan)) for name, plan in plans.items()}
    plans["shorter"] = Plan(round(given.steps * flops["random_ltd"] / flops["whole"]))
    flops["shorter"] = _training_flops(_config(folder, given, 0, plans["shorter"]))
    found = _trained(folder, given, plans)
    seeds = list(zip(*(found[name] for name in plans), strict=True))
    needed = [_needed(ours.loss, (shorter.loss, whole.loss), flops) for whole, ours, shorter in seeds]
    time_saved = [1 - ours.cpu_seconds / whole.cpu_seconds for whole, ours, _ in seeds]
    compute_saved = 1 - flops["random_ltd"] / flops["whole"]
    return {
        **_figures(plans, found),
        "training_gflop": {name: number / 1e9 for name, number in flops.items()},
        "loss_beside_shorter": _beside([run.loss for run in found["random_ltd"]], found["shorter"]),
        "compute_saved": compute_saved,
        "time_saved": _interval(time_saved),
        "compute_saved_at_equal_loss": _interval(1 - (1 - compute_saved) / share for share in needed),
        "time_saved_at_equal_loss": _interval(
            1 - (1 - saved) / share for saved, share in zip(time_saved, needed, strict=True)
        ),
    }


def warm_up(folder: Path, given: argparse.Namespace) -> dict[str, Any]:
    """The same of short windows and of small batches at first, with as many tokens."""
    steps, windows = given.steps, given.windows
    short = (
        f"stream.window={WINDOW // 3}", f"training.global_batch={3 * windows}", f"training.micro_batch={3 * windows}",
        f"phases=[{_phase(steps // 4, 2 * windows, WINDOW // 2)}, {_phase(steps // 2, windows, WINDOW)}]",
    )  # fmt: skip
    few = (
        f"training.global_batch={windows // 4}", f"training.micro_batch={windows // 4}",
        f"phases=[{_phase(steps // 2, windows // 2)}, {_phase(3 * steps // 4, windows)}]",
    )  # fmt: skip
    plans = {"whole": Plan(steps), "short_at_first": Plan(steps, short), "few_at_first": Plan(3 * steps // 2, few)}
    return _figures(plans, _trained(folder, given, plans))


def _phase(at_step: int, windows: int, window: int | None = None) -> str:
    stream = f", stream: {{window: {window}}}" if window else ""
    return f"{{at_step: {at_step}{stream}, training: {{global_batch: {windows}, micro_batch: {windows}}}}}"


def _trained(folder: Path, given: argparse.Namespace, plans: Mapping[str, Plan]) -> dict[str, list[Trained]]:
    found: dict[str, list[Trained]] = {name: [] for name in plans}
    question = small_runs.run_config(folder / "asked", 0, given.steps, given.windows)
    for seed in range(given.seeds):
        for name, plan in plans.items():
            run = small_runs.train(_config(folder, given, seed, plan), question)
            frame.note(f"seed {seed}, {name}: {run.loss:.4f} after {run.cpu_seconds:.1f} CPU seconds")
            found[name].append(run)
    return found


def _figures(plans: Mapping[str, Plan], found: Mapping[str, list[Trained]]) -> dict[str, Any]:
    losses = {name: [run.loss for run in runs] for name, runs in found.items()}
    return {
        "steps": {name: plan.steps for name, plan in plans.items()},
        "heldout_loss": losses,
        "cpu_seconds": {name: [run.cpu_seconds for run in runs] for name, runs in found.items()},
        "loss_beside_whole": {name: _beside(own, found["whole"]) for name, own in losses.items() if name != "whole"},
    }


def _beside(losses: list[float], others: list[Trained]) -> dict[str, float | None]:
    return _interval(loss - other.loss for loss, other in zip(losses, others, strict=True))


def _interval(values: Iterable[float]) -> dict[str, float | None]:
    return student_interval(list(values)).as_json()


def _needed(loss: float, losses: tuple[float, float], flops: Mapping[str, int]) -> float:
    """The share of its steps that training on everything takes to `loss`.

    `losses` are those of `shorter` and `whole`: a line through both in the logarithm of FLOPs.
    """
    shorter, whole = losses
    fewer, all_of_them = math.log(flops["shorter"]), math.log(flops["whole"])
    at = fewer + (all_of_them - fewer) * (shorter - loss) / (shorter - whole)
    return math.exp(at - all_of_them)


def _config(folder: Path, given: argparse.Namespace, seed: int, plan: Plan) -> RunConfig:
    sizes = f"d_model: {given.width}, d_kv: 16, d_ff: {3 * given.width}, num_layers: {given.layers}, num_heads: 6"
    own = (f"model={{{sizes}}}", f"training.learning_rate={RATE}", *plan.own)
    return small_runs.run_config(folder / "read", seed, plan.steps, given.windows, *own)


def _training_flops(config: RunConfig) -> int:
    """Of a whole run, whose windows are one document each."""
    window, pieces = config.stream.window, config.stream.max_pieces
    rows = config.corruption.max_rows(window, pieces)
    shape = Shape(rows["encoder"], rows["decoder"], config.corruption.max_targets(window, pieces))
    ltd, steps = config.training.random_ltd, config.training.steps
    shares = ltd.shares(0, steps) if ltd else [(1.0, steps)]
    forward = sum(count * forward_flops(config.model, 1024, shape, share) for share, count in shares)
    return 3 * config.training.global_batch * forward
