"""Soak: random ranks killed at random moments, thirty times; the weights are those of a calm run."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from .conftest import losses, result

FIELDS = {"ranks": 2, "global_batch": 4, "micro_batch": 2, "model": {"num_layers": 1}}


def run_through(run_dir: Path, kills: int, seed: int) -> dict[str, Any]:
    """The report of soak_ranks.py."""
    command = [sys.executable, str(Path(__file__).with_name("soak_ranks.py")), str(run_dir), str(kills), str(seed)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo", "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False, timeout=3000)
    logs = "".join(log.read_text()[-2000:] for log in sorted(run_dir.glob("rank-*.log")))
    assert done.returncode == 0, done.stderr[-2000:] + logs
    report: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return report


@pytest.mark.parametrize(("steps", "kills"), [(12, 2), pytest.param(300, 30, marks=pytest.mark.long)])
def test_after_many_random_kills_the_weights_are_those_of_an_undisturbed_run(
    make_run: Any, steps: int, kills: int
) -> None:
    fields = {**FIELDS, "steps": steps, "evaluate_every": 50, "checkpoint": {"save_every": 3, "keep_last": 1}}
    calm, disturbed = make_run(**fields), make_run(**fields)
    assert run_through(calm, 0, 0) == {"kills": 0, "inside_a_save": 0, "resumed": [], "wrong": []}
    seed = int(os.environ.get("SPANWRIGHT_TEST_SEED", time.time_ns() % 10**6))
    print(f"SPANWRIGHT_TEST_SEED={seed}")
    report = run_through(disturbed, kills, seed)
    print(report)
    assert report["wrong"] == []
    assert report["kills"] == kills
    assert sorted(set(report["resumed"])) == report["resumed"], "a start went on from where the one before did"
    assert losses(disturbed) == losses(calm)
    assert result(disturbed) == result(calm)
