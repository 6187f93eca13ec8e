"""metrics.jsonl: one JSON object a line, one line a step, plus a line for each held-out evaluation.

Invariant: what is in the file up to a checkpoint's step is what an undisturbed run would have written, timings aside:
on resume the file is cut back to the resumed step.

    {"step": 12, "position": 96, "tokens": ..., "loss": ..., "loss_hex": ..., "terms": {...}, "lr": ...,
     "grad_norm": ..., "tokens_per_second": ..., "data_wait": ..., "step_seconds": ...}
    {"step": 12, "heldout_loss": ..., "heldout_loss_hex": ..., "heldout_terms": {...}}

`step` counts updates done; `loss` is that of the batch before the update. `tokens` are rows of all views.
"""

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from data_prep.shards.files import publish, staged_bytes
from pipeline.training.loop import StepReport


class MetricsLog:
    """The file of one run, open for appending."""

    def __init__(self, path: Path, resumed_step: int) -> None:
        """Cut `path` back to what was done up to `resumed_step` (0: to nothing) and go on from there."""
        path.parent.mkdir(parents=True, exist_ok=True)
        kept = _lines_up_to(path, resumed_step)
        publish([staged_bytes(path, "".join(f"{line}\n" for line in kept).encode())])
        self._file = open(path, "a", encoding="utf-8")  # noqa: SIM115 - open for the whole run

    def write_step(self, report: StepReport) -> None:
        """The line of a training step."""
        self._write(step_record(report))

    def write_heldout(self, step: int, terms: Mapping[str, float]) -> None:
        """The line of a held-out evaluation after `step` updates."""
        loss = math.fsum(terms.values())
        self._write({"step": step, "heldout_loss": loss, "heldout_loss_hex": loss.hex(), "heldout_terms": dict(terms)})

    def flush(self) -> None:
        """Bring what was written to the disk (before a checkpoint relies on it)."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _write(self, record: Mapping[str, Any]) -> None:
        self._file.write(json.dumps(record) + "\n")
        self._file.flush()


def step_record(report: StepReport) -> dict[str, Any]:
    """A step as it stands in metrics.jsonl."""
    return {
        "step": report.progress.step,
        "position": report.progress.position,
        "tokens": report.progress.tokens,
        "loss": report.loss,
        "loss_hex": report.loss.hex(),
        "terms": report.terms,
        "lr": report.learning_rate,
        "grad_norm": report.grad_norm,
        "tokens_per_second": report.tokens / report.seconds,
        "data_wait": report.data_wait_seconds / report.seconds,
        "step_seconds": report.seconds,
    }


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The records of a metrics.jsonl; a last line that is not whole (the run was killed) is left out."""
    if not path.is_file():
        return []
    lines = path.read_text(encoding="utf-8").split("\n")
    return [json.loads(line) for line in lines[:-1]]


def _lines_up_to(path: Path, step: int) -> list[str]:
    if step == 0:
        return []
    return [json.dumps(record) for record in read_metrics(path) if record["step"] <= step]
