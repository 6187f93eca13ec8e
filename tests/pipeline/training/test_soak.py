"""Soak: random ranks and the launcher killed at random moments, thirty times; the weights are those of a calm run."""

import os
import random
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from pipeline.checkpoint.load import newest_valid

from .conftest import losses, result
from .test_resume import ranks_of, start, wait_for_step, wait_until_gone

FIELDS = {"ranks": 2, "global_batch": 4, "micro_batch": 1, "loader_workers": 1, "evaluate_every": 50}


@pytest.mark.long
@pytest.mark.parametrize(("steps", "kills"), [(300, 30)])
def test_after_many_random_kills_the_weights_are_those_of_an_undisturbed_run(
    make_run: Any, launch: Any, steps: int, kills: int
) -> None:
    fields = {**FIELDS, "steps": steps, "checkpoint": {"save_every": 3, "keep_last": 1}}
    calm, disturbed = make_run(**fields), make_run(**fields)
    assert launch(calm, ranks=2, timeout=3000).returncode == 0
    seed = int(os.environ.get("SPANWRIGHT_TEST_SEED", time.time_ns() % 10**6))
    print(f"SPANWRIGHT_TEST_SEED={seed}")
    draw, fired = random.Random(seed), 0
    for number in range(kills):
        fired += kill_once(disturbed, steps * (number + 1) // (kills + 1), draw)
    assert fired == kills
    assert launch(disturbed, ranks=2, timeout=3000).returncode == 0
    assert losses(disturbed) == losses(calm)
    assert result(disturbed) == result(calm)


def kill_once(run_dir: Path, step: int, draw: random.Random) -> int:
    """Start the run and kill its launcher or a rank some moments after `step`, which it has then reached for good."""
    process = start(run_dir, ranks=2)
    wait_for_step(run_dir, step, process, seconds=600.0)
    time.sleep(draw.uniform(0.0, 0.3))
    ranks = [pid for pid in ranks_of(run_dir) if b"RANK=" in Path(f"/proc/{pid}/environ").read_bytes()]
    victim = draw.choice([process.pid, *ranks])
    os.kill(victim, signal.SIGKILL)
    process.wait(timeout=120)
    wait_until_gone(run_dir)
    found = newest_valid(run_dir / "train" / "checkpoints")
    assert found.problems == []
    assert not (run_dir / "train" / "result.json").exists(), "the run had ended before it was killed"
    return 1
