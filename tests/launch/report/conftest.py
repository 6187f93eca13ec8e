"""Run folders as training writes them, without training: its own writers, with figures that the tests choose."""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.batch import MicroBatch
from pipeline.config import RunConfig, load_config, save_config
from pipeline.training.loop import Progress, StepReport
from pipeline.training.reports.history import History
from pipeline.training.reports.metrics import METRICS, SAMPLES, MetricsLog, StepLog
from tests.browser import Browser, open_browser

ATTACK = "<script>alert('boo')</script></pre></style><img src=x onerror=alert(1)>"
ENVIRONMENT = {"world_size": 2, "zero_stage": 2, "torch": "2.13.0"}
STEPS = 120


def make_run(
    folder: Path, *overrides: str, steps: int = STEPS, loss: float = 5.0, terms: int = 1, flops: int = 10**9
) -> Path:
    """A run of `steps` steps that was killed after 60, went on from 50, and ends near `loss`."""
    config = load_config("demo", (f"run.dir={folder}", f"training.steps={STEPS}", "recipe.name=tried", *overrides))
    save_config(config)
    if steps:
        _write_metrics(config, steps, loss, terms, flops)
        _write_samples(config)
        _write_history(config, steps)
    return folder


def _write_metrics(config: RunConfig, steps: int, loss: float, terms: int, flops: int) -> None:
    log = MetricsLog(config.train_dir / METRICS, 0, flops)
    names = [f"term_{n}" for n in range(terms)]
    log.write_heldout(0, dict.fromkeys(names, 9.0 / terms))
    for step in range(1, steps + 1):
        value = loss + 4 * math.exp(-step / 20) + 0.2 * math.sin(step)
        report = StepReport(
            progress=Progress(step, 32 * step, 5000 * step), loss=value, terms=dict.fromkeys(names, value / terms),
            learning_rate=3e-3 * min(1.0, step / 10), grad_norm=1.0, tokens=5000, seconds=90.0, data_wait_seconds=1.0,
            own_seconds=2.0, micro_batch=MicroBatch({}, np.arange(4)),
        )  # fmt: skip
        views = {"noise_density": 0.15, "labels": 512.0, "spans": 77.0, "encoder_fill": 0.9, "decoder_fill": 0.5}
        log.write_step(report, views if step % 10 == 0 else None)
        if step % 40 == 0:
            log.write_heldout(step, dict.fromkeys(names, (value + 0.1) / terms))
    log.close()


def _write_samples(config: RunConfig) -> None:
    log = StepLog(config.train_dir / SAMPLES, 0)
    for step, said in ((40, "·the"), (80, "·a"), (120, "·fox")):
        asked = [
            {"read": "⟨0⟩", "label": "·fox", "predicted": said},
            {"read": "·fox", "label": "</s>", "predicted": "</s>"},
        ]
        log.write({"step": step, "samples": [{"reads": {"encoder": ["·quick", "⟨0⟩", ATTACK]}, "asked": asked}]})
    log.close()


def _write_history(config: RunConfig, steps: int) -> None:
    history = History(config.train_dir)
    history.add("start", 0, host="node1", environment=ENVIRONMENT, changes=[])
    history.add("saved", 50, seconds=1.25, stall_seconds=0.5)
    history.add("start", 50, host="node2", environment={**ENVIRONMENT, "world_size": 1}, changes=["world_size: 2 -> 1"])
    history.add("rollback", 90, reason="step 95: the loss is nan", skipped=[3000, 3032])
    if steps == STEPS:
        (config.train_dir / "result.json").write_text("{}")
        history.add("done", steps)


def write_evaluation(run: Path, step: int, probes: dict[str, Any]) -> Path:
    """evaluation/STEP.json."""
    path = run / "evaluation" / f"{step}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({"step": step, "checkpoint": f"step-{step:08d}", "probes": probes}))
    return path


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with open_browser() as opened:
        yield opened
