"""Held-out loss after the same steps with each optimizer that `training.optimizer` offers: T5's span corruption, small;
and the CPU seconds of its update.

1. one corpus (the standard library), cut into text to train on and text to ask about
2. each optimizer trains at each of its rates with the first seed; the best rate goes on with the other seeds
3. every seed has its own windows, masks and first weights, the same for all optimizers

A loop of plain torch in float32; ZeRO does the same with these optimizers (tests/pipeline/training/test_engine.py).
"""

import argparse
import statistics
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from benchmarks import frame, small_runs
from benchmarks.small_runs import WINDOW, run_config, write_corpus
from pipeline.evaluation.intervals import student_interval

RATES = {
    "adamw": (3e-3, 1e-2, 3e-2),
    "rms_adamw": (1e-2, 3e-2, 1e-1),
    "lion": (3e-3, 1e-2, 3e-2),
    "muon": (1e-2, 3e-2, 1e-1),
    "schedule_free": (3e-3, 1e-2, 3e-2),
}
Train = Callable[[str, float, int], "Trained"]  # optimizer, rate, seed


class Trained(NamedTuple):
    """Of one run: the held-out loss after it, CPU milliseconds of an update (median), and of a step but its reading."""

    loss: float
    update_ms: float
    step_ms: float


def measure(given: argparse.Namespace) -> frame.Outcome:
    """Write the corpus, train, and compare."""
    torch.set_num_threads(given.threads)
    with tempfile.TemporaryDirectory(prefix="optimizers-") as name:
        folder = Path(name)
        write_corpus(folder, given.megabytes)
        runs, at_rates = _runs(partial(_train, folder, given), given.seeds)
    losses = {kind: [run.loss for run in found] for kind, found in runs.items()}
    figures = {
        "rates": {kind: {f"{rate:g}": run.loss for rate, run in found.items()} for kind, found in at_rates.items()},
        "heldout_loss": losses,
        "gain": {kind: _gain(losses["adamw"], found) for kind, found in losses.items() if kind != "adamw"},
        "update_cpu_ms": {kind: statistics.median(run.update_ms for run in found) for kind, found in runs.items()},
        "step_cpu_ms": {kind: statistics.median(run.step_ms for run in found) for kind, found in runs.items()},
        "steps": given.steps, "windows": given.windows, "tokens": given.steps * given.windows * WINDOW,
    }  # fmt: skip
    ratios = {
        f"adamw_vs_{kind}": float(np.mean(losses["adamw"]) / np.mean(found))
        for kind, found in losses.items()
        if kind != "adamw"
    }
    return frame.Outcome("optimizers", figures, ratios, {}, ("torch",))


def _gain(plain: list[float], other: list[float]) -> dict[str, float | None]:
    """How far the held-out loss lies below AdamW's, by the same seeds."""
    return student_interval([before - after for before, after in zip(plain, other, strict=True)]).as_json()


def _runs(train: Train, seeds: int) -> tuple[dict[str, list[Trained]], dict[str, dict[float, Trained]]]:
    """By optimizer, the run of each seed at the best rate; and that of the first seed at each rate."""
    runs, at_rates = {}, {}
    for kind, rates in RATES.items():
        at_rates[kind] = {rate: train(kind, rate, 0) for rate in rates}
        best = min(rates, key=lambda rate: at_rates[kind][rate].loss)
        runs[kind] = [at_rates[kind][best], *(train(kind, best, seed) for seed in range(1, seeds))]
    return runs, at_rates


def _train(folder: Path, given: argparse.Namespace, kind: str, rate: float, seed: int) -> Trained:
    schedule = ["training.schedule.kind=constant"] if kind == "schedule_free" else []
    chosen = [f"training.optimizer={kind}", f"training.learning_rate={rate}", *schedule]
    config = run_config(folder / "read", seed, given.steps, given.windows, *chosen)
    done = small_runs.train(config, run_config(folder / "asked", 0, given.steps, given.windows))
    update_ms = statistics.median(done.update_seconds) * 1e3
    step_ms = done.cpu_seconds / given.steps * 1e3
    frame.note(f"{kind} at {rate:g}, seed {seed}: {done.loss:.4f}, update {update_ms:.1f} of {step_ms:.1f} ms of CPU")
    return Trained(done.loss, update_ms, step_ms)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(prog="python -m benchmarks.optimizers", description=__doc__)
    made.add_argument("--steps", type=int, default=400, help="updates of each run (default 400)")
    made.add_argument("--windows", type=int, default=16, help="windows of 126 tokens in an update (default 16)")
    made.add_argument("--seeds", type=int, default=3, help="runs of each optimizer at its best rate (default 3)")
    made.add_argument("--megabytes", type=float, default=4.0, help="of code (default 4)")
    made.add_argument("--threads", type=int, default=1, help="default 1")
    return made


if __name__ == "__main__":
    frame.main(parser(), measure)
