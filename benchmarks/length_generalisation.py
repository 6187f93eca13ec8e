"""Length generalisation: position schemes trained on short strings and tested on longer ones, in a causal stack.

1. Every scheme trains one small causal model per task and seed, on strings of 1 to `--train-length` symbols. All see
   the same strings and, but for the scheme's own, the same first weights.
2. Accuracy: the share of answers that are right given the ones before, at the longest trained length and, on average,
   at four lengths up to twice that. Chance is 1 / 8.
3. Gains are differences of that average, over tasks, with a 95 % interval over seeds (Student's t). Each is the claim
   of a paper: randomized positions help any scheme (Ruoss et al. 2023: +12.0 points on average over their tasks); no
   positions beat explicit ones (Kazemnejad et al. 2023); FIRE beats other biases and RoPE (Li et al. 2023); BiPE beats
   its own relative part alone, RoPE or ALiBi (He et al. 2024). A gain above 0 is the claim's direction. BiPE's is
   counted on `rewrite` alone, whose strings are sentences, the others' on the other tasks.
"""

import argparse
import json
import multiprocessing
import os
import statistics
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from benchmarks import frame
from benchmarks.length_tasks import KEYS, TASKS, VOCAB, batch_of
from pipeline.batch import Batch
from pipeline.evaluation.intervals import student_interval
from pipeline.kernels.attention import IntervalPattern
from pipeline.model.config import ModelConfig
from pipeline.model.heads import TokenHead
from pipeline.model.initialisation import initialise
from pipeline.model.labels import labelled
from pipeline.model.streams import key_streams
from pipeline.model.transformer import Transformer
from pipeline.training.stopping import die_with_parent

PLAIN = ("none", "sinusoidal", "rope", "alibi", "t5", "fire", "bipe", "bipe_alibi")
RANDOMIZED = ("sinusoidal", "rope", "alibi", "t5")  # whose randomized form is tried too
SCHEMES = (*PLAIN, *(f"{scheme}+randomized" for scheme in RANDOMIZED))
SHAPE = {"d_model": 64, "d_kv": 16, "d_ff": 128, "num_heads": 4}
WARMUP_STEPS, TEST_STRINGS = 50, 64
GOALS = dict.fromkeys(("randomized_gain", "nope_gain", "fire_gain", "bipe_gain"), 0.0)

Trial = tuple[str, str, int]  # task, name of the scheme, seed
Accuracies = dict[str, dict[str, list[tuple[float, float]]]]  # by scheme and task: of each seed, trained and longer


class CausalModel(nn.Module):
    """A decoder alone: embedding, causal stack, head."""

    def __init__(self, scheme: str, num_layers: int, train_length: int, randomized: bool, seed: int) -> None:
        super().__init__()
        shape = SHAPE | {"num_layers": num_layers}
        max_positions = 8 * train_length if randomized else None
        # The stack gets its scheme itself: a configuration of its own would be an encoder's, which needs positions.
        config = ModelConfig(**shape, randomized_positions=max_positions, tie_word_embeddings=False)  # type: ignore[arg-type]
        # FIRE's threshold is a quarter of the longest rows trained on, as in the paper.
        fire = {"kind": "fire", "threshold": (train_length + 1) / 2}
        own = {"fire": fire, "bipe_alibi": {"kind": "bipe", "between": "alibi"}}.get(scheme, {"kind": scheme})
        positions = ModelConfig.model_validate({**shape, "decoder_positions": own}).decoder_position_config
        self.embedding = nn.Embedding(VOCAB, config.d_model)
        self.stack = Transformer(config, config.num_layers, positions, bidirectional=False, has_cross_attention=False)
        self.head = TokenHead(config, VOCAB, None)
        initialise(self, config, seed)
        key_streams(self, seed)

    def forward(self, view: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits [A, V] of the rows that have labels, and the labels [A]."""
        pattern = IntervalPattern.causal(view.cu_seqlens, len(view.tokens))
        states_TW = self.stack(self.embedding(view.tokens), view, pattern)
        rows, labels_L = labelled(view)
        return self.head(states_TW[rows]), labels_L.long()


def train(task: str, scheme: str, is_randomized: bool, seed: int, given: argparse.Namespace) -> CausalModel:
    """A model of its own, on strings that depend on task and seed alone."""
    model = CausalModel(scheme, given.layers, given.train_length, is_randomized, seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=given.rate, betas=(0.9, 0.98), weight_decay=0.01, fused=True)
    for step in range(given.steps):
        rng = np.random.default_rng([seed, step, len(task)])
        lengths = rng.integers(1, given.train_length + 1, size=given.strings)
        logits, labels = model(batch_of([TASKS[task](n, rng) for n in lengths], step, scheme.startswith("bipe")))
        loss = nn.functional.cross_entropy(logits, labels)
        for group in optimizer.param_groups:
            group["lr"] = given.rate * min((step + 1) / WARMUP_STEPS, (given.steps - step) / given.steps)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    return model


@torch.no_grad()
def accuracy(model: CausalModel, task: str, length: int, two_levels: bool, seed: int) -> float:
    """The share of right answers on strings of `length`, which no training saw."""
    rng = np.random.default_rng([seed, length, 10**9])
    view = batch_of([TASKS[task](length, rng) for _ in range(TEST_STRINGS)], 10**9 + length, two_levels)
    logits, labels = model(view)
    return float((logits.argmax(-1) == labels).float().mean())


def longer_lengths(train_length: int) -> list[int]:
    """Four lengths, up to twice the trained one."""
    return [train_length + train_length * quarter // 4 for quarter in (1, 2, 3, 4)]


def trial(key: Trial, given: argparse.Namespace) -> tuple[float, float, float]:
    """Accuracy of one model at the longest trained length, and on average at longer ones; the CPU seconds it took."""
    begin = time.process_time()
    torch.set_num_threads(1)
    task, name, seed = key
    scheme, _, randomized = name.partition("+")
    model = train(task, scheme, bool(randomized), seed, given)

    def at(length: int) -> float:
        return accuracy(model, task, length, scheme.startswith("bipe"), seed)

    longer = statistics.mean(at(length) for length in longer_lengths(given.train_length))
    return at(given.train_length), longer, time.process_time() - begin


def measure(given: argparse.Namespace) -> frame.Outcome:
    """All schemes on all tasks; trials that are kept from an earlier run of the same settings are not run again."""
    wanted = [(task, name, seed) for seed in range(given.seeds) for name in given.schemes for task in given.tasks]
    done = _run_trials(wanted, given)
    found: Accuracies = {name: {task: [] for task in given.tasks} for name in given.schemes}
    for task, name, seed in wanted:
        trained, longer, _ = done[task, name, seed]
        found[name][task].append((trained, longer))
    gains = {claim: _gain(CLAIMS[claim], found, given) for claim in CLAIMS}
    figures: dict[str, Any] = {f"longer_{task}": _table(found, task) for task in given.tasks}
    figures["gains"] = {claim: gain for claim, gain in gains.items() if gain["mean"] is not None}
    figures |= {"train_length": given.train_length, "test_lengths": longer_lengths(given.train_length)}
    figures |= {name: getattr(given, name) for name in ("steps", "layers", "strings", "rate", "seeds")}
    figures |= {"cpu_seconds": sum(done[key][2] for key in wanted)}
    ratios = {claim: gain["mean"] for claim, gain in gains.items()}
    return frame.Outcome("length_generalisation", figures, ratios, GOALS, ("torch", "numpy"))


def _run_trials(wanted: Sequence[Trial], given: argparse.Namespace) -> dict[Trial, tuple[float, float, float]]:
    """What `trial` gives for each, in processes; written to the file `--keep`, a line each, as it comes."""
    settings = [given.train_length, given.steps, given.layers, given.strings, given.rate]
    done: dict[Trial, tuple[float, float, float]] = {}
    if given.keep and given.keep.exists():
        lines = [json.loads(line) for line in given.keep.read_text(encoding="utf-8").splitlines()]
        done = {tuple(line["trial"]): tuple(line["result"]) for line in lines if line["settings"] == settings}
    missing = [key for key in wanted if key not in done]
    context, parent = multiprocessing.get_context("spawn"), (os.getpid(),)
    with ProcessPoolExecutor(given.processes, context, die_with_parent, parent) as pool:
        for key, result in zip(missing, pool.map(partial(trial, given=given), missing), strict=True):
            done[key] = result
            frame.note(f"{key}: {result[0]:.3f} as trained, {result[1]:.3f} longer")
            if given.keep:
                with given.keep.open("a", encoding="utf-8") as kept:
                    kept.write(json.dumps({"settings": settings, "trial": key, "result": result}) + "\n")
    return done


@dataclass(frozen=True)
class Claim:
    """On `tasks`, the schemes `ours` go on longer than `theirs`, in the mean."""

    ours: tuple[str, ...]
    theirs: tuple[str, ...]
    tasks: tuple[str, ...] = ("copy", "reverse", "recall")


CLAIMS = {
    "randomized_gain": Claim(tuple(f"{name}+randomized" for name in RANDOMIZED), RANDOMIZED),
    "nope_gain": Claim(("none",), ("sinusoidal", "rope", "alibi", "t5")),
    "fire_gain": Claim(("fire",), ("rope", "alibi", "t5")),
    "bipe_gain": Claim(("bipe", "bipe_alibi"), ("rope", "alibi"), ("rewrite",)),
}


def _gain(claim: Claim, found: Accuracies, given: argparse.Namespace) -> dict[str, float | None]:
    """The difference in accuracy at longer lengths, over seeds; None where its schemes or tasks were not run."""
    tasks = [task for task in claim.tasks if task in given.tasks]
    if not tasks or not found.keys() >= {*claim.ours, *claim.theirs}:
        return {"mean": None, "half_interval": None}

    def longer(names: Sequence[str], seed: int) -> float:
        return statistics.mean(found[name][task][seed][1] for name in names for task in tasks)

    gains = [longer(claim.ours, seed) - longer(claim.theirs, seed) for seed in range(given.seeds)]
    return {"mean": statistics.mean(gains), "half_interval": half_interval(gains)}


def half_interval(values: Sequence[float]) -> float | None:
    """Half of the mean's 95 % interval; None for a single value."""
    found = student_interval(values)
    return None if found.high is None else found.high - found.mean


def _table(found: Accuracies, task: str) -> dict[str, dict[str, float | None]]:
    rows: dict[str, dict[str, float | None]] = {}
    for name, trials in found.items():
        trained, longer = zip(*trials[task], strict=True)
        rows[name] = {
            "trained": statistics.mean(trained),
            "longer": statistics.mean(longer),
            "half_interval": half_interval(longer),
        }
    return rows


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(prog="python -m benchmarks.length_generalisation", description=__doc__)
    lengths = range(4, KEYS // 2 + 1)  # twice as many pairs have a key each
    made.add_argument("--train-length", type=int, default=8, choices=lengths, metavar="N", help="4 to 10 (default 8)")
    made.add_argument("--steps", type=int, default=400, help="of training, per model (default 400)")
    made.add_argument("--layers", type=int, default=2, help="of the model (default 2)")
    made.add_argument("--strings", type=int, default=32, help="in a step (default 32)")
    made.add_argument("--rate", type=float, default=3e-3, help="of learning, at its peak (default 3e-3)")
    made.add_argument("--schemes", nargs="+", default=list(SCHEMES), choices=SCHEMES, help="default: all of them")
    made.add_argument("--seeds", type=int, default=3, choices=range(1, 11), help="models per scheme and task")
    made.add_argument("--tasks", nargs="+", default=list(TASKS), choices=list(TASKS))
    made.add_argument("--keep", type=Path, help="file of trials that are done; a run with the same one continues")
    made.add_argument("--processes", type=int, default=2, help="trials at once, one thread each (default 2)")
    return made


if __name__ == "__main__":
    frame.main(parser(), measure)
