"""Small trainings in this process, to compare ways to train: T5's span corruption on the standard library's code.

A loop of plain torch on one rank, a micro-batch a step, which does what training does: the windows and the batch of the
phase, the plan's rate, the share of tokens that middle layers keep, clipping. Ways that are compared with one seed get
the same windows, masks and first weights.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from benchmarks.claims.runs import HERE as CLAIMS
from benchmarks.corpus import code_texts
from benchmarks.shards import write_dataset
from data_prep.config import TokenizerConfig
from data_prep.tokenizer import Tokenizer
from data_prep.tokenizer.tokenizer import MODEL_NAME
from data_prep.tokenizer.train import train_model
from pipeline.config import RunConfig, load_config
from pipeline.model.token_dropping import token_droppings
from pipeline.objectives import build_objective
from pipeline.training.assembly import Data, open_data
from pipeline.training.loop import global_loss
from pipeline.training.optimizers.build import build_optimizer
from pipeline.training.optimizers.schedule_free import ScheduleFreeAdamW
from pipeline.training.positions import first_position
from pipeline.training.random_ltd import schedule_clock
from pipeline.training.schedule import step_plan

WINDOW, ASKED = 126, 64


@dataclass(frozen=True)
class Trained:
    """A run's held-out loss, what its steps took of the processor without reading, and each update by itself."""

    loss: float
    cpu_seconds: float
    update_seconds: Sequence[float]


def write_corpus(folder: Path, megabytes: float) -> None:
    """`folder`/read and `folder`/asked: datasets of nine tenths of the files, and of the others."""
    texts = code_texts(int(megabytes * 1e6))
    model = train_model(texts, TokenizerConfig(vocab_size=1024))
    (folder / MODEL_NAME).write_bytes(model.model)
    tokenizer = Tokenizer.load(folder)
    documents = [(f"code:{number}", tokenizer.encode(text)) for number, text in enumerate(texts)]
    for name, part in (("asked", documents[::10]), ("read", [d for n, d in enumerate(documents) if n % 10])):
        write_dataset(folder / name, {MODEL_NAME: model.model}, [part], WINDOW)


def run_config(dataset: Path, seed: int, steps: int, windows: int, *overrides: str) -> RunConfig:
    """The run of a seed on a dataset of `write_corpus`: `steps` updates of `windows` windows of WINDOW tokens."""
    return load_config(
        "t5_span",
        [
            "data.paths=[none]", f"data.dir={dataset}", f"run.dir={dataset / 'run'}", f"run.seed={seed}",
            f"model={CLAIMS / 'encoder_decoder.yaml'}", "model.dropout_rate=0.0", f"stream.window={WINDOW}",
            f"training.steps={steps}", f"training.global_batch={windows}", f"training.micro_batch={windows}",
            f"training.schedule={{kind: cosine, warmup_steps: {max(1, steps // 10)}}}",
            "training.heldout_samples=0", "training.precision=fp32", *overrides,
        ],
    )  # fmt: skip


def train(config: RunConfig, question: RunConfig) -> Trained:
    """Train as `config` says, and ask about the text of `question`."""
    data, training = open_data(config), config.training
    objective: Any = build_objective(config.objective, config.model, data.tokenizer.vocab_size, config.run.seed)
    optimizer, clock = build_optimizer(objective, training), schedule_clock(training.random_ltd, config.model.stacks)
    droppings = list(token_droppings(objective))
    spent, updates, sizes = 0.0, list[float](), data.micro_batches.sizes
    for step in range(training.steps):
        views = data.micro_batches[first_position(step, sizes)].to("cpu").views
        started, plan = time.process_time(), step_plan(training, step, clock)
        for dropping in droppings:
            dropping.kept_share = 1.0 if plan.kept_share is None else plan.kept_share
        optimizer.zero_grad()
        global_loss(objective(views), objective.counts(views)).backward()
        nn.utils.clip_grad_norm_(objective.parameters(), training.max_grad_norm)
        for group in optimizer.param_groups:
            group["lr"] = plan.learning_rate
        before = time.process_time()
        optimizer.step()
        updates.append(time.process_time() - before)
        spent += time.process_time() - started
    if isinstance(optimizer, ScheduleFreeAdamW):
        optimizer.swap()  # to the weights that are evaluated
    return Trained(asked(objective, open_data(question)), spent, updates)


@torch.no_grad()
def asked(objective: Any, data: Data) -> float:
    """Nats a label on text that nobody read, always with the same masks."""
    objective.eval()
    total, count = 0.0, 0
    for first in range(0, ASKED, data.micro_batches.sizes.micro_batch(0)):
        for loss, labels in objective(data.micro_batches[first].to("cpu").views).values():
            total, count = total + float(loss), count + labels
    return total / count
