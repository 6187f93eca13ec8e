"""Our side: an ordinary training of a run folder, and the same objective in a loop of plain torch.

`python -m benchmarks.train_step.ours plain RUN` is the loop: one process, bfloat16 weights with float32 masters, AdamW
and clipping by torch, batches made before the clock starts; what DeepSpeed, loader and checks cost is the difference.
`... parts RUN` takes a few steps of the run on one rank and tells where their time goes.
`... profiled RUN` trains it on its ranks and tells the same of rank 0, as `spanwright train --profile` finds it.
`... count RUN` tells how many rows that are not padding each step reads. All print a JSON line.
"""

import argparse
import json
import os
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from benchmarks.train_step.device import device_here, memory_of
from launch.local import launch_local
from pipeline.batch import Views
from pipeline.config import RunConfig, load_config, load_run, save_config
from pipeline.objectives import build_objective
from pipeline.training.assembly import Data, build_engine, open_data
from pipeline.training.loop import global_loss
from pipeline.training.profile.profiler import FOLDER
from pipeline.training.profile.request import WantedSteps, request_profile
from pipeline.training.rank import Rank, join_process_group
from pipeline.training.reports.metrics import METRICS, read_metrics
from pipeline.training.schedule import step_plan
from pipeline.training.stopwatch import Stopwatch


def make_run(folder: Path, dataset: Path, given: argparse.Namespace, **training: Any) -> Path:
    """A run folder whose training is what is measured."""
    fields = {
        "steps": given.warm_up + given.steps, "global_batch": given.batch, "micro_batch": given.batch,
        "heldout_samples": 0, "log_every": 1000, "peak_tflops": 1.0, "precision": "bf16", "loader_workers": 1,
        "schedule": {"kind": "inverse_sqrt"}, **training,
    }  # fmt: skip
    config = load_config(
        "t5_span",
        [
            "data.paths=[none]", f"data.dir={dataset}", f"run.dir={folder}", f"model={given.model}",
            f"stream.window={given.window}", "checkpoint.background=false",
            *(f"training.{name}={json.dumps(value)}" for name, value in fields.items()),
        ],
    )  # fmt: skip
    save_config(config)
    return folder


def train(run_dir: Path) -> None:
    """Train it as `spanwright train` would, and print what its steps took."""
    config = load_run(run_dir)
    if code := launch_local(run_dir, config.training.ranks, config.training.threads_per_rank):
        raise SystemExit(code)
    records = [record for record in read_metrics(config.train_dir / METRICS) if "step_seconds" in record]
    found = {name: [record[name] for record in records] for name in ("step_seconds", "data_wait")}
    memory = {"memory": records[-1]["gpu_memory_gib"]} if "gpu_memory_gib" in records[-1] else {}
    print(json.dumps({"seconds": found["step_seconds"], "data_wait": found["data_wait"], **memory}))


def count(run_dir: Path) -> None:
    """Rows of every step that are not padding, and the share of those that are."""
    config = load_run(run_dir)
    data = open_data(config)
    used, rows = [], 0
    for step in range(config.training.steps):
        views = [view for batch in _step(data, config, step, torch.device("cpu")) for view in batch.values()]
        used.append(sum(view.num_rows for view in views))
        rows += sum(len(view.tokens) for view in views)
    print(json.dumps({"tokens": used, "padding": 1 - sum(used) / rows}))


def plain(run_dir: Path) -> None:
    """The same steps in a loop of plain torch."""
    config = load_run(run_dir)
    torch.set_num_threads(config.training.threads_per_rank or 1)
    data, device = open_data(config), device_here()
    objective: Any = build_objective(config.objective, config.model, data.tokenizer.vocab_size, config.run.seed)
    objective.to(device)
    masters = [parameter.detach().clone() for parameter in objective.parameters()]
    objective.bfloat16()
    optimizer = torch.optim.AdamW(masters, lr=1e-4, weight_decay=0.01, fused=True)
    seconds = []
    for [views] in [_step(data, config, step, device) for step in range(config.training.steps)]:
        started = time.perf_counter()
        loss = global_loss(objective(views), objective.counts(views))
        loss.backward()
        for master, parameter in zip(masters, objective.parameters(), strict=True):
            master.grad, parameter.grad = parameter.grad.float(), None
        nn.utils.clip_grad_norm_(masters, 1.0)
        optimizer.step()
        with torch.no_grad():
            for master, parameter in zip(masters, objective.parameters(), strict=True):
                parameter.copy_(master)
        loss.item()
        seconds.append(time.perf_counter() - started)
    print(json.dumps({"seconds": seconds, **memory_of(device)}))


def parts(run_dir: Path) -> None:
    """Seconds of a step by part, the mean over the run's steps after the first."""
    config = load_run(run_dir)
    torch.set_num_threads(config.training.threads_per_rank or 1)
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29511", "LOCAL_RANK": "0"}
    rank = Rank(0, 1, 0, 1, device_here())
    join_process_group(rank)
    data = open_data(config)
    engine = build_engine(config, data, rank)
    clock = defaultdict[str, Stopwatch](lambda: Stopwatch(rank.device))
    model: Any = engine.module.model
    model.encoder.encode = _timed(clock["forward: encoder"], model.encoder.encode)
    model.decoder.decode = _timed(clock["forward: decoder"], model.decoder.decode)
    for step in range(config.training.steps):
        if step == 1:
            for stopwatch in clock.values():
                stopwatch.take()
        samples = data.micro_batches.samples(step * config.training.micro_batch)
        with clock["reading"].running():
            data.micro_batches.maker.gather(samples)
        with clock["masking"].running():  # reads the text once more, which is little
            views = data.micro_batches.maker.apply(samples).placed(rank.device).views
        with clock["forward"].running():
            terms = engine.forward(views)
        with clock["backward"].running():
            engine.backward(global_loss(terms, engine.counts(views)), last=True)
        with clock["optimizer"].running():
            engine.step(step_plan(config.training, step).learning_rate)
    found = {name: stopwatch.take() / (config.training.steps - 1) for name, stopwatch in clock.items()}
    found["forward: embedding, head and loss"] = found["forward"] - sum(
        seconds for name, seconds in found.items() if name.startswith("forward: ")
    )
    print(json.dumps({"parts": found}))


def profiled(run_dir: Path) -> None:
    """Seconds of a step of rank 0 by part, communication apart from the part it lies in."""
    config = load_run(run_dir)
    request_profile(config.train_dir, WantedSteps(None, max(1, config.training.steps - 2)))
    if code := launch_local(run_dir, config.training.ranks, config.training.threads_per_rank):
        raise SystemExit(code)
    [page] = (config.train_dir / FOLDER).glob("*.md")
    found = json.loads(page.with_suffix(".json").read_text(encoding="utf-8"))
    print(json.dumps({"parts": {name: share * found["seconds"] for name, share in found["shares"].items()}}))


def _timed(stopwatch: Stopwatch, call: Callable[..., Any]) -> Callable[..., Any]:
    def timed(*arguments: Any) -> Any:
        with stopwatch.running():
            return call(*arguments)

    return timed


def _step(data: Data, config: RunConfig, step: int, device: torch.device) -> list[Views]:
    """The micro-batches of a step, those of all ranks."""
    training = config.training
    first = step * training.global_batch
    positions = range(first, first + training.global_batch, training.micro_batch)
    return [data.micro_batches[position].placed(device).views for position in positions]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.train_step.ours", description=__doc__)
    actions = {action.__name__: action for action in (train, count, plain, parts, profiled)}
    parser.add_argument("action", choices=actions)
    parser.add_argument("run", type=Path)
    chosen = parser.parse_args()
    actions[chosen.action](chosen.run)
