"""RUN/train/attempts.jsonl: each start of a training, in which environment, and how it ended."""

import importlib.metadata
import json
import os
import platform
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline.config import RunConfig, fingerprint
from pipeline.training.reports.history import read_whole_lines

ATTEMPTS = "attempts.jsonl"
_PACKAGES = ("torch", "deepspeed", "ray", "numpy", "safetensors", "transformers", "triton")


def record_start(config: RunConfig, number: int, hosts: Sequence[str], world_size: int, dataset: str | None) -> None:
    """An attempt begins."""
    facts = {
        "attempt": number,
        "started": _now(),
        "hosts": list(hosts),
        "world_size": world_size,
        "config": fingerprint(config),
        "dataset": dataset,
        **environment(),
    }
    _append(config.train_dir, facts)


def record_end(config: RunConfig, number: int, outcome: str, step: int, reason: str | None = None) -> None:
    """An attempt ended."""
    _append(config.train_dir, {"attempt": number, "ended": _now(), "outcome": outcome, "step": step, "reason": reason})


def read_attempts(train_dir: Path) -> list[dict[str, Any]]:
    """All lines so far; one that is not whole is left out."""
    return [line for line in read_whole_lines(train_dir / ATTEMPTS) if "attempt" in line]


def environment() -> dict[str, Any]:
    """Code, packages and machine (of the leader)."""
    return {
        "revision": _revision(),
        "packages": {name: _version(name) for name in _PACKAGES},
        "python": platform.python_version(),
        "system": platform.platform(),
        "cores": len(os.sched_getaffinity(0)),
        "processor": _processor(),
        "gpus": _gpus(),
    }


def _append(train_dir: Path, line: dict[str, Any]) -> None:
    train_dir.mkdir(parents=True, exist_ok=True)
    with open(train_dir / ATTEMPTS, "a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S%z")


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _processor() -> str | None:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), None)


def _gpus() -> list[str]:
    """Their names, as the driver tells them."""
    command = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout.splitlines()
    except (OSError, subprocess.SubprocessError):
        return []


def _revision() -> str | None:
    """The git revision of the code that runs, with + when it was changed; None when it is no checkout."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--abbrev=40", "--dirty=+"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
