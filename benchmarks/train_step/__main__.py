"""A training step of T5, ours beside transformers', in turn: `python -m benchmarks.train_step --json`.

1. prepare the corpora in the cache folder (`--cache`; see corpus.py)
2. in each round every contender trains once, in a process of its own: `ours` as `spanwright train` runs, on one rank
   and on two with ZeRO-2 and half the threads each; `half` is one rank with half the threads, `plain` our objective in
   a loop of plain torch; `eager` and `compiled` are transformers' T5 (peers.py), and so is `concatenated`, compiled, on
   windows of documents one after another that see each other
3. medians over rounds and steps; tokens are those of input and target that are not padding

`fixed_share_of_gemm_bound` is the time of the step's matrix products, timed alone (products.py), over that of the step.
Memory is the resident size of the largest process, at its peak. Where there is a GPU all train there, on one rank, also
ours `without_graphs`, and memory is that of the tensors on it.
"""

import argparse
import os
import shutil
import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks import frame
from benchmarks.children import child
from benchmarks.train_step import corpus, ours
from benchmarks.train_step.device import device_here
from data_prep.shards import Dataset

HERE = "benchmarks.train_step"
GOALS = {
    "fixed_vs_eager": 2.2, "fixed_vs_compiled": 1.5, "fixed_share_of_gemm_bound": 0.8, "natural_vs_compiled": 3.0,
    "zero2_two_ranks_vs_one": 1.7, "plain_vs_deepspeed": 0.9,
}  # fmt: skip
MOST = {"memory_vs_eager": 0.6, "data_wait": 0.01}
CONTENDERS = {
    "fixed": ("ours", "zero2", "half", "plain", "eager", "compiled"),
    "natural": ("ours", "eager", "compiled", "compiled_dynamic", "concatenated"),
}
ON_GPU = {
    "fixed": ("ours", "without_graphs", "eager", "compiled"),
    "natural": ("ours", "without_graphs", "eager", "compiled", "compiled_dynamic"),
}
OURS = ("ours", "zero2", "half", "plain", "without_graphs")
Run = dict[str, Any]  # tokens_per_s, step_seconds, memory_gib, and what else a contender tells


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.train_step", description=__doc__)
    parser.add_argument("--model", default="small", help="of configs/models (default: small, 60 M parameters)")
    parser.add_argument("--window", type=int, default=568, help="raw tokens: 568 are 512 in and 114 out (default)")
    parser.add_argument("--seq", type=int, nargs=2, metavar=("IN", "OUT"), help="the same by tokens: 512 114")
    parser.add_argument("--vocab-size", type=int, default=32_000, help="of the tokenizer (default 32000)")
    parser.add_argument("--batch", type=int, default=8, help="windows or documents in a step (default 8)")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)), help="default: the cores")
    parser.add_argument("--steps", type=int, default=4, help="timed in each round (default 4)")
    parser.add_argument("--warm-up", type=int, default=2, help="steps before them (default 2)")
    parser.add_argument("--rounds", type=int, default=3, help="default 3")
    parser.add_argument("--kinds", nargs="+", choices=corpus.KINDS, default=corpus.KINDS)
    parser.add_argument("--cache", type=Path, default=Path("runs/train_step"), help="corpora (default runs/train_step)")
    frame.main(parser, measure, arguments)


def measure(given: argparse.Namespace) -> frame.Outcome:
    """Prepare, run the rounds, and compare."""
    if given.seq:
        given.window = corpus.window_of(*given.seq)
    datasets, on_gpu = _prepared(given), device_here().type == "cuda"
    runs: dict[str, dict[str, list[Run]]] = {}
    for kind in given.kinds:
        contenders = (ON_GPU if on_gpu else CONTENDERS)[kind]
        runs[kind] = {name: [] for name in contenders}
        for number in range(given.rounds):
            shift = number % len(contenders)
            for name in contenders[shift:] + contenders[:shift]:
                frame.note(f"{kind}, round {number + 1} of {given.rounds}: {name}")
                runs[kind][name].append(_run(name, kind, datasets, given))
    figures: dict[str, Any] = {
        kind: {name: _middle(found) for name, found in named.items()} for kind, named in runs.items()
    }
    figures |= {"threads": given.threads, "rounds": given.rounds, "model": given.model, "batch": given.batch}
    if "fixed" in given.kinds:
        figures["parts_seconds"] = _parts("ours", "parts", datasets["fixed"], given)
        if "zero2" in runs["fixed"]:
            figures["parts_seconds_of_two_ranks"] = _parts("zero2", "profiled", datasets["fixed"], given)
        figures["products"] = _products(datasets["fixed"], given)
    name = "train_step_cuda" if on_gpu else "train_step"
    if on_gpu:
        figures["gpu"] = torch.cuda.get_device_name()
    libraries = ("torch", "deepspeed", "transformers")
    return frame.Outcome(name, figures, _ratios(runs, figures), GOALS, libraries, MOST)


def _prepared(given: argparse.Namespace) -> dict[str, Path]:
    with frame.aside():
        return corpus.prepare(given.cache.resolve(), given.window, given.vocab_size)


def _run(name: str, kind: str, datasets: dict[str, Path], given: argparse.Namespace) -> Run:
    if name in OURS:
        return _run_ours(name, kind, datasets[kind], given)
    if name == "concatenated":  # the windows of the fixed lengths are these documents, one after another
        return _run("compiled", "fixed", datasets, given)
    options = {"window": given.window, "batch": given.batch, "threads": given.threads, "model": given.model}
    options |= {"warm-up": given.warm_up, "steps": given.steps}
    arguments = [f"--{option}={value}" for option, value in options.items()]
    found = child(f"{HERE}.peers", name, kind, datasets[kind], *arguments)
    return _with_rates(found, found["tokens"])


def _run_ours(name: str, kind: str, dataset: Path, given: argparse.Namespace) -> Run:
    folder = _run_folder(name, dataset, given)
    try:
        found = child(f"{HERE}.ours", "plain" if name == "plain" else "train", folder)
        counted = child(f"{HERE}.ours", "count", folder)
    finally:
        shutil.rmtree(folder.parent)
    found = {key: values[given.warm_up :] for key, values in found.items() if isinstance(values, list)} | {
        "memory": found["memory"], "padding": counted["padding"],
    }  # fmt: skip
    return _with_rates(found, counted["tokens"][given.warm_up :])


def _parts(name: str, action: str, dataset: Path, given: argparse.Namespace) -> dict[str, float]:
    folder = _run_folder(name, dataset, given)
    try:
        parts: dict[str, float] = child(f"{HERE}.ours", action, folder)["parts"]
        return parts
    finally:
        shutil.rmtree(folder.parent)


def _run_folder(name: str, dataset: Path, given: argparse.Namespace) -> Path:
    half = max(1, given.threads // 2)
    shares: dict[str, dict[str, Any]] = {
        "zero2": {"ranks": 2, "zero_stage": 2, "threads_per_rank": half, "micro_batch": given.batch // 2},
        "half": {"threads_per_rank": half},
        "without_graphs": {"cuda_graphs": False},
    }
    share = {"ranks": 1, "zero_stage": 1, "threads_per_rank": given.threads, **shares.get(name, {})}
    return ours.make_run(Path(tempfile.mkdtemp(prefix="train_step-")) / name, dataset, given, **share)


def _with_rates(found: Run, tokens: list[int]) -> Run:
    rates = [count / seconds for count, seconds in zip(tokens, found["seconds"], strict=True)]
    run = {
        "tokens_per_s": statistics.median(rates),
        "step_seconds": statistics.median(found["seconds"]),
        "memory_gib": found["memory"],
        "padding": found["padding"],
    }
    return run | ({"data_wait": statistics.median(found["data_wait"])} if "data_wait" in found else {})


def _middle(runs: list[Run]) -> Run:
    return {name: round(statistics.median(run[name] for run in runs), 4) for name in runs[0]}


def _products(dataset: Path, given: argparse.Namespace) -> Run:
    encoder, decoder = corpus.corrupted_lengths(given.window)
    vocab_size = Dataset.open(dataset).manifest.tokenizer.vocab_size
    options = {"model": given.model, "vocab-size": vocab_size, "batch": given.batch, "threads": given.threads}
    found = child(
        f"{HERE}.products", *(f"--{name}={value}" for name, value in options.items()), "--rows", encoder, decoder
    )
    return {"seconds": found["seconds"], "gflop": found["flops"] / 1e9, "matmul_gflop_per_s": found["peak"] / 1e9}


def _ratios(runs: dict[str, dict[str, list[Run]]], figures: dict[str, Any]) -> dict[str, float | None]:
    ratios: dict[str, float | None] = dict.fromkeys((*GOALS, *MOST))

    def compare(ratio: str, kind: str, ours_: str, other: str, figure: str = "tokens_per_s") -> None:
        if not {ours_, other} <= runs[kind].keys():
            return
        pairs = zip(runs[kind][ours_], runs[kind][other], strict=True)
        ratios[ratio] = statistics.median(own[figure] / others[figure] for own, others in pairs)

    if "fixed" in runs:
        compare("fixed_vs_eager", "fixed", "ours", "eager")
        compare("fixed_vs_compiled", "fixed", "ours", "compiled")
        compare("memory_vs_eager", "fixed", "ours", "eager", "memory_gib")
        compare("zero2_two_ranks_vs_one", "fixed", "zero2", "half")
        compare("plain_vs_deepspeed", "fixed", "ours", "plain")
        compare("graphs_vs_none", "fixed", "ours", "without_graphs")
        seconds, bound = figures["fixed"]["ours"]["step_seconds"], figures["products"]
        ratios["fixed_share_of_gemm_bound"] = bound["seconds"] / seconds
        ratios["data_wait"] = figures["fixed"]["ours"]["data_wait"]
        ratios["fixed_share_of_matmul"] = bound["gflop"] / seconds / bound["matmul_gflop_per_s"]
    if "natural" in runs:
        compare("natural_vs_eager", "natural", "ours", "eager")
        compare("natural_graphs_vs_none", "natural", "ours", "without_graphs")
        for name in ("compiled", "compiled_dynamic", "concatenated"):
            compare(f"natural_vs_{name}", "natural", "ours", name)
        # The goal is about whichever way of compiling does better.
        better = [ratios["natural_vs_compiled"], ratios["natural_vs_compiled_dynamic"]]
        ratios["natural_vs_compiled"] = min(ratio for ratio in better if ratio is not None)
    return ratios


if __name__ == "__main__":
    main()
