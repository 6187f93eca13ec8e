"""evaluation/STEP.json: what probes found of one checkpoint (or, of an export, EXPORT/evaluation.json).

    {"step": 2000, "checkpoint": "step-00002000", "weights": their SHA-256 (as in result.json),
     "probes": {NAME: {"metrics": {METRIC: {"value", "low", "high"}}, "groups": {KIND: {NAME: metrics}},
                       "settings": {...}, "values": [of each query]}}}

A probe that is asked again replaces its entry; those of other weights at the same step are dropped.
"""

import json
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data_prep.errors import InputError
from data_prep.shards.files import named_errors, publish, staged_bytes
from pipeline.evaluation.config import FOLDER
from pipeline.evaluation.figures import Figures


@dataclass(frozen=True)
class Place:
    """The file, and whose figures it holds."""

    path: Path
    step: int | None
    checkpoint: str | None
    weights: str | None
    """A digest of the weights that were asked."""
    skipped: Sequence[str] = ()
    """A line on each newer checkpoint that is damaged."""

    @classmethod
    def of_run(
        cls, run_dir: Path, step: int, checkpoint: str | None, weights: str, skipped: Sequence[str] = ()
    ) -> "Place":
        """Of a run's step."""
        return cls(run_dir / FOLDER / f"{step}.json", step, checkpoint, weights, skipped)

    def record(self, name: str, figures: Figures) -> None:
        """Put the figures of a probe beside those that are there."""
        before = read_results(self.path)
        same = before.get("weights") == self.weights
        probes = {**(before["probes"] if same else {}), name: figures.as_json()}
        fields = {"step": self.step, "checkpoint": self.checkpoint, "weights": self.weights}
        with named_errors(self.path.parent, "write"):
            self.path.parent.mkdir(parents=True, exist_ok=True)
        data = json.dumps({**fields, "probes": dict(sorted(probes.items()))}, indent=1, ensure_ascii=False)
        publish([staged_bytes(self.path, data.encode())])


def read_results(path: Path) -> dict[str, Any]:
    """What the file says; {} where there is none that can be read."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) and isinstance(found.get("probes"), dict) else {}


def recommended_layer(run_dir: Path) -> int:
    """The layer to export that the probe `layers` found last; InputError where it was not asked."""
    for results in results_of_run(run_dir):
        if "layers" in results["probes"]:
            return int(results["probes"]["layers"]["metrics"]["recommended_layer"]["value"])
    raise InputError(
        "--layers recommended: nothing was recommended yet; ask with: "
        f"spanwright evaluate {shlex.quote(str(run_dir))} layers"
    )


def results_of_run(run_dir: Path) -> Iterator[dict[str, Any]]:
    """The results of a run's steps, the newest first."""
    numbered = [path for path in (run_dir / FOLDER).glob("*.json") if path.stem.isdecimal()]
    for path in sorted(numbered, key=lambda path: -int(path.stem)):
        if found := read_results(path):
            yield found
