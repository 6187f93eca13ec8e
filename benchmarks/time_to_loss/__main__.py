"""Wall time and tokens to a held-out loss, ours beside transformers: `python -m benchmarks.time_to_loss --json`.

1. the functions of the standard library are the documents (benchmarks/train_step/corpus.py), some of them held out
2. `ours` trains as `spanwright train` does, on packed windows; `eager` is transformers' T5 of that shape with the usual
   collator, and as many documents in a batch as hold the tokens of our windows. Schedule, optimizer, clipping and
   dropout are the same; each trains at every one of `--rates`, and its best counts (the lowest loss at the end)
3. `compiled` and `compiled_dynamic` are the peer at its best rate with torch.compile
4. every `--every` steps each model is judged by one judge (judge.py): ours is exported for it to transformers' layout

Seconds are those of steps: no start, evaluation, save, compilation. The ratios are at the lowest loss that all reach.
"""

import argparse
import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks import frame
from benchmarks.children import child
from benchmarks.time_to_loss.judge import Judge, Point, reached
from benchmarks.train_step import corpus
from data_prep.shards import Dataset
from launch.stages import run_stages
from pipeline.checkpoint.load import step_folder
from pipeline.checkpoint.weights import CheckpointWeights
from pipeline.config import RunConfig, load_config
from pipeline.evaluation.objective import first_objective
from pipeline.export.huggingface import export_hf
from pipeline.export.libraries import quiet_transformers
from pipeline.training.assembly import open_data
from pipeline.training.reports.metrics import METRICS, read_metrics

PEERS = ("eager", "compiled", "compiled_dynamic")
GOALS = {f"seconds_vs_{name}": 1.0 for name in PEERS}
HELDOUT_FRACTION = 0.05
Curve = list[Point]


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.time_to_loss", description=__doc__)
    parser.add_argument("--model", default="tiny", help="of configs/models (default: tiny, 8 M parameters)")
    parser.add_argument("--window", type=int, default=256, help="raw tokens (default 256)")
    parser.add_argument("--vocab-size", type=int, default=8192, help="of the tokenizer (default 8192)")
    parser.add_argument("--batch", type=int, default=16, help="windows in a step of ours (default 16)")
    parser.add_argument("--steps", type=int, default=300, help="of every training (default 300)")
    parser.add_argument("--every", type=int, default=15, help="steps between evaluations (default 15)")
    parser.add_argument("--rates", type=float, nargs="+", default=[3e-4, 1e-3, 3e-3], help="default 3e-4 1e-3 3e-3")
    parser.add_argument("--losses", type=float, nargs="+", default=[6.0, 5.5, 5.0, 4.5, 4.0], help="to be reached")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)), help="default: the cores")
    parser.add_argument("--cache", type=Path, default=Path("runs/time_to_loss"), help="default runs/time_to_loss")
    frame.main(parser, measure, arguments)


def measure(given: argparse.Namespace) -> frame.Outcome:
    """Train everybody, and compare."""
    with frame.aside():
        dataset = corpus.prepare_natural(given.cache.resolve(), given.window, given.vocab_size, HELDOUT_FRACTION)
    judge, documents = Judge(dataset, given.window), _documents_in_batch(dataset, given)
    curves: dict[str, dict[float, Curve]] = {"ours": {}, "eager": {}}
    with tempfile.TemporaryDirectory(prefix="time_to_loss-") as name:
        configs = {rate: _config(Path(name) / f"rate-{rate:g}", dataset, rate, given) for rate in given.rates}
        for rate, config in configs.items():
            frame.note(f"ours, learning rate {rate:g}")
            curves["ours"][rate] = _ours(config, judge, given.every)
            frame.note(f"eager, learning rate {rate:g}")
            curves["eager"][rate] = _peer("eager", config, documents, given)
        rate = _best(curves["eager"])
        for peer in PEERS[1:]:
            frame.note(f"{peer}, learning rate {rate:g}")
            curves[peer] = {rate: _peer(peer, configs[rate], documents, given)}
    best = {name: found[_best(found)] for name, found in curves.items()}
    figures: dict[str, Any] = {
        name: {
            "rate": _best(curves[name]), "step_seconds": curve[-1].seconds / curve[-1].step,
            "final_loss": curve[-1].loss, **_to_losses(curve, given.losses),
        }
        for name, curve in best.items()
    }  # fmt: skip
    figures |= {"documents_in_a_batch": documents, "windows_in_a_batch": given.batch, "steps": given.steps}
    figures["curves"] = {name: {f"{rate:g}": found[rate] for rate in found} for name, found in curves.items()}
    return frame.Outcome("time_to_loss", figures, _ratios(best, given.losses), GOALS, ("torch", "transformers"))


def _config(folder: Path, dataset: Path, rate: float, given: argparse.Namespace) -> RunConfig:
    """Our run at a rate, which keeps a checkpoint for every evaluation."""
    return load_config(
        "t5_span",
        [
            "data.paths=[none]", f"data.dir={dataset}", f"run.dir={folder}", f"model={given.model}",
            f"stream.window={given.window}", f"training.steps={given.steps}", f"training.global_batch={given.batch}",
            f"training.micro_batch={given.batch}", f"training.learning_rate={rate}", "training.betas=[0.9, 0.98]",
            "training.weight_decay=0.01", "training.heldout_samples=0", "training.precision=bf16",
            f"training.threads_per_rank={given.threads}", "training.peak_tflops=1.0", "training.log_every=1000",
            "training.schedule={kind: inverse_sqrt, warmup_ratio: 0.1}",
            f"checkpoint.save_every={given.every}", f"checkpoint.keep_last={given.steps}",
            "checkpoint.background=false", "export.to=[]",
        ],
    )  # fmt: skip


def _ours(config: RunConfig, judge: Judge, every: int) -> Curve:
    with frame.aside():
        run_stages(config, ("train",))
    seconds = [line["step_seconds"] for line in read_metrics(config.train_dir / METRICS) if "step_seconds" in line]
    tokens = child("benchmarks.train_step.ours", "count", config.run_dir)["tokens"]
    curve = [Point(0, 0, 0.0, judge.loss(_as_stock(config, None)))]
    for step in range(every, config.training.steps + 1, every):
        curve.append(Point(step, sum(tokens[:step]), sum(seconds[:step]), judge.loss(_as_stock(config, step))))
    shutil.rmtree(config.train_dir / "checkpoints")
    return curve


def _as_stock(config: RunConfig, step: int | None) -> Any:
    """Our model after `step` steps (None: before the first) as transformers loads it."""
    data = open_data(config)
    if step is None:
        first = first_objective(config, data.tokenizer.vocab_size)
        weights: Any = {name: value.detach() for name, value in first.named_parameters()}
    else:
        weights = CheckpointWeights(step_folder(config.checkpoints, step))
    with tempfile.TemporaryDirectory() as folder:
        export_hf(weights, config.model, data.dataset.tokenizer_folder, Path(folder) / "model")
        stock = quiet_transformers().T5ForConditionalGeneration
        return stock.from_pretrained(Path(folder) / "model", dtype=torch.float32)


def _peer(name: str, like: RunConfig, documents: int, given: argparse.Namespace) -> Curve:
    options = {"batch": documents, "every": given.every, "threads": given.threads}
    named = (f"--{option}={value}" for option, value in options.items())
    found = child("benchmarks.time_to_loss.peer", name, like.run_dir, *named)
    return [Point(*point) for point in found["curve"]]


def _documents_in_batch(dataset: Path, given: argparse.Namespace) -> int:
    """As many pieces of documents as hold the tokens of our windows, on average."""
    pieces = list(corpus.pieces(Dataset.open(dataset), "train", given.window))
    return max(1, round(given.batch * given.window * len(pieces) / sum(map(len, pieces))))


def _best(curves: dict[float, Curve]) -> float:
    return min(curves, key=lambda rate: curves[rate][-1].loss)


def _to_losses(curve: Curve, losses: Sequence[float]) -> dict[str, float | None]:
    found: dict[str, float | None] = {}
    for loss in losses:
        point = reached(curve, loss)
        found[f"seconds_to_{loss:g}"] = round(point.seconds, 2) if point else None
        found[f"tokens_to_{loss:g}"] = point.tokens if point else None
    return found


def _ratios(best: dict[str, Curve], losses: Sequence[float]) -> dict[str, float | None]:
    """How many times the seconds and tokens of ours each peer takes to the lowest of `losses` that all reach.

    By training: one that first weights have already says nothing.
    """
    for loss in sorted(losses):
        points = {name: reached(curve, loss) for name, curve in best.items()}
        found = {name: point for name, point in points.items() if point is not None and point.step > 0}
        if len(found) == len(best):
            ours = found["ours"]
            return {
                **{f"seconds_vs_{name}": found[name].seconds / ours.seconds for name in PEERS},
                **{f"tokens_vs_{name}": found[name].tokens / ours.tokens for name in PEERS},
                "at_loss": loss,
            }
    return dict.fromkeys([f"seconds_vs_{name}" for name in PEERS])


if __name__ == "__main__":
    main()
