"""metrics.jsonl and samples.jsonl: one JSON object a line, each of a step.

metrics.jsonl has a line for every step, and one for each held-out evaluation; samples.jsonl what the model wrote for
held-out samples then (pipeline/training/reports/samples.py).

Invariant: what is in the file up to a checkpoint's step is what an undisturbed run would have written, timings aside:
on resume the file is cut back to the resumed step.

    {"step": 12, "position": 96, "tokens": ..., "loss": ..., "loss_hex": ..., "terms": {...}, "lr": ...,
     "grad_norm": ..., "tokens_per_second": ..., "data_wait": ..., "step_seconds": ..., "flops": ..., "views": {...},
     "statistics": {...}, "trouble": {"action": ..., "reason": ..., "samples": [start, stop]}}
    {"step": 12, "heldout_loss": ..., "heldout_loss_hex": ..., "heldout_terms": {...}}

`step` counts updates done; `loss` is that of the batch before the update. `tokens` are rows of all views, `flops` those
of a step on all ranks (pipeline/training/throughput.py). Every `log_every` steps `views` are statistics of the masks,
`statistics` of gradients, logits and embeddings (observing.py). `trouble` is in steps that stood out (trouble.py).
Where middle layers drop tokens, `kept_share` is what they keep; on a GPU `gpu_memory_gib` is the most its tensors took.
"""

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from data_prep.errors import CorruptionError
from data_prep.shards.files import publish, staged_bytes
from pipeline.training.loop import StepReport

METRICS, SAMPLES = "metrics.jsonl", "samples.jsonl"


class StepLog:
    """A file of one run whose lines belong to steps, open for appending."""

    def __init__(self, path: Path, resumed_step: int) -> None:
        """Cut `path` back to what was done up to `resumed_step` (0: to nothing) and go on from there."""
        path.parent.mkdir(parents=True, exist_ok=True)
        kept = _lines_up_to(path, resumed_step)
        publish([staged_bytes(path, "".join(f"{line}\n" for line in kept).encode())])
        self._file = open(path, "a", encoding="utf-8")  # noqa: SIM115 - open for the whole run

    def write(self, record: Mapping[str, Any]) -> None:
        """Another line; `record` has its `step`."""
        self._file.write(json.dumps(record) + "\n")
        self._file.flush()

    def flush(self) -> None:
        """Bring what was written to the disk (before a checkpoint relies on it)."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class MetricsLog(StepLog):
    """metrics.jsonl."""

    def __init__(self, path: Path, resumed_step: int, flops_of_step: int = 0) -> None:
        """`flops_of_step` on all ranks; 0 where nobody counted."""
        super().__init__(path, resumed_step)
        self.flops_of_step = flops_of_step

    def write_step(self, report: StepReport, views: Mapping[str, float] | None = None) -> None:
        """The line of a training step; `views` are its statistics, where they were taken."""
        record = {**step_record(report), "flops": self.flops_of_step}
        if report.statistics:
            record["statistics"] = report.statistics
        if (found := report.trouble) is not None:
            record["trouble"] = {"action": found.action, "reason": found.reason, "samples": [found.start, found.stop]}
        self.write({**record, "views": dict(views)} if views is not None else record)

    def write_heldout(self, step: int, terms: Mapping[str, float]) -> None:
        """The line of a held-out evaluation after `step` updates."""
        loss = math.fsum(terms.values())
        self.write({"step": step, "heldout_loss": loss, "heldout_loss_hex": loss.hex(), "heldout_terms": dict(terms)})


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
        **({} if report.kept_share is None else {"kept_share": report.kept_share}),
        **({} if report.gpu_memory_gib is None else {"gpu_memory_gib": report.gpu_memory_gib}),
    }


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The records of metrics.jsonl or samples.jsonl; a last line that is not whole (the run was killed) is left out.

    CorruptionError naming the line when another one is damaged.
    """
    if not path.is_file():
        return []
    lines = path.read_bytes().split(b"\n")[:-1]
    return [_record(line, f"{path}, line {number}") for number, line in enumerate(lines, start=1)]


def _record(line: bytes, where: str) -> dict[str, Any]:
    try:
        record = json.loads(line)
        if isinstance(record["step"], int):
            return record
    except (ValueError, TypeError, KeyError):
        pass
    raise CorruptionError(f"{where}: damaged, it is no record of a step. Restore the file, or remove the line.")


def _lines_up_to(path: Path, step: int) -> list[str]:
    if step == 0:
        return []
    return [json.dumps(record) for record in read_metrics(path) if record["step"] <= step]
