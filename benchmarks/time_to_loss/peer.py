"""`python -m benchmarks.time_to_loss.peer`: transformers' T5 trained with the usual collator, in one process.

Prints a JSON line, the points of its curve. The batches are made before the clock starts, and what is compiled is
compiled before it starts: both in the peer's favour.
"""

import argparse
import itertools
import json
import time
from collections.abc import Iterator
from pathlib import Path

import torch

from benchmarks.time_to_loss.judge import Judge, Point
from benchmarks.train_step import corpus, peers
from pipeline.config import load_run
from pipeline.training.schedule import learning_rate

Tensors = dict[str, torch.Tensor]


def train(given: argparse.Namespace) -> Iterator[Point]:
    """A point before the first step and after every `--every` steps."""
    config = load_run(given.like)
    training, window, dataset = config.training, config.stream.window, config.data_dir
    model = peers.model_like(config.model, dataset)
    judge = Judge(dataset, window)
    batches = _batches(dataset, window, given.batch, training.steps, one_shape=given.name == "compiled")
    optimizer = torch.optim.AdamW(
        model.parameters(), betas=training.betas, eps=training.eps, weight_decay=training.weight_decay, fused=True
    )
    forward = peers.compiled(model, given.name)
    for batch in batches[:2] if given.name != "eager" else ():
        peers.backward(forward, batch)
        model.zero_grad(set_to_none=True)
    tokens, seconds = 0, 0.0
    yield Point(0, 0, 0.0, judge.loss(model))
    for step, batch in enumerate(batches):
        started = time.perf_counter()
        peers.backward(forward, batch)
        torch.nn.utils.clip_grad_norm_(model.parameters(), training.max_grad_norm)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(training, step)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        seconds += time.perf_counter() - started
        tokens += corpus.real_tokens({name: values.numpy() for name, values in batch.items()})
        if (step + 1) % given.every == 0:
            yield Point(step + 1, tokens, seconds, judge.loss(model))


def _batches(dataset: Path, window: int, batch: int, count: int, one_shape: bool) -> list[Tensors]:
    """Of as many epochs as it takes, each in an order of its own."""
    least = corpus.corrupted_lengths(window) if one_shape else (0, 0)
    epochs = (corpus.collated(dataset, "train", window, batch, least, seed=seed) for seed in itertools.count(2))
    made = itertools.islice(itertools.chain.from_iterable(epochs), count)
    return [{name: torch.from_numpy(values) for name, values in one.items()} for one in made]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.time_to_loss.peer", description=__doc__)
    parser.add_argument("name", choices=peers.NAMES)
    parser.add_argument("like", type=Path, help="our run, whose model, data, rate and schedule it takes")
    for option in ("--batch", "--every", "--threads"):
        parser.add_argument(option, type=int, required=True)
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    torch.manual_seed(0)
    print(json.dumps({"curve": list(train(chosen))}))
