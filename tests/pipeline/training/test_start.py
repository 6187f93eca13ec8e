"""`train --from STEP` and `--from RUN`, from the command line to the last step."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from data_prep.errors import InputError
from launch.start import Start
from pipeline.checkpoint.load import newest_record, saved_steps
from pipeline.config import load_run
from pipeline.evaluation.run import evaluate_run

from .conftest import losses

PROFILING = (Path(__file__).parents[3] / "docs" / "profiling.md").read_text(encoding="utf-8")
FIELDS = {"steps": 6, "micro_batch": 4, "evaluate_every": 2}


def train(run_dir: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "launch.cli", "train", str(run_dir), *options]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "200"}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


def test_a_run_goes_back_and_on_with_other_data_and_another_starts_with_its_weights(make_run: Any) -> None:
    first = make_run(checkpoint={"save_every": 2, "keep_last": 3}, **FIELDS)
    words = re.findall(r"^spanwright train runs/demo (.*)$", PROFILING, re.MULTILINE)
    done = train(first, *shlex.split(words[0]))
    assert done.returncode == 0, done.stderr
    assert "what to change:" in done.stdout
    assert (first / "train" / "profile" / "steps-4-5.trace.json.gz").is_file()
    refused = train(first, "--profile", "2")
    assert refused.returncode == 2
    assert "has done all of its 6 steps" in refused.stderr
    before = losses(first)
    check_older_checkpoints_can_be_asked(first, before)

    refused = train(first, "--from", "2", "stream.block_shards=1")
    assert refused.returncode == 2
    assert "stream.block_shards was 64 when this run was trained and is 1 now" in refused.stderr
    back = train(first, "--from", "2", "--allow-data-change", "stream.block_shards=1")
    assert back.returncode == 0, back.stderr
    assert "a later checkpoint is set aside as left-step-00000006" in back.stdout
    assert "continuing after step 2 of 6" in back.stdout
    assert "the data changes from position 8 on: stream of samples" in back.stdout
    assert saved_steps(first / "train" / "checkpoints") == [6, 4, 2]
    record = newest_record(first / "train" / "checkpoints")
    assert record is not None
    assert [(change.step, change.position) for change in record.data_changes] == [(2, 8)]
    assert losses(first)[:4] == before[:4]
    assert losses(first)[4:] != before[4:]

    other = make_run(seed=9, **FIELDS)
    started = train(other, "--from", str(first), "--weights-only")
    assert started.returncode == 0, started.stderr
    record = newest_record(other / "train" / "checkpoints")
    assert record is not None
    assert record.origin == f"{first}/train/checkpoints/step-00000006"
    [at_start, *_] = losses(other)
    # Held-out masks are those of another seed: the loss of trained weights is near, that of new ones is not.
    heldout = [float.fromhex(loss) for step, loss in before if step == 6][-1]
    assert abs(float.fromhex(at_start[1]) - heldout) < 0.2 * heldout

    refused = train(first, "--from", "5")
    assert refused.returncode == 2
    assert "--from 5: there is no checkpoint of this step in" in refused.stderr


def test_weights_only_goes_with_another_run_only() -> None:
    for origin in (None, "12"):
        with pytest.raises(InputError, match="--weights-only takes the weights of another run"):
            Start(origin=origin, weights_only=True).check()


def check_older_checkpoints_can_be_asked(run_dir: Path, told: list[tuple[int, str]]) -> None:
    """`evaluate --step`: the bits that training printed at that step, in a file of its own."""
    weights = set()
    for step in (2, 4):
        place, found = evaluate_run(load_run(run_dir), ["heldout", "tev"], step=step)
        list(found)
        assert place.path == run_dir / "evaluation" / f"{step}.json"
        results = json.loads(place.path.read_text(encoding="utf-8"))
        assert (results["step"], results["checkpoint"]) == (step, f"step-{step:08d}")
        assert (step, results["probes"]["heldout"]["metrics"]["loss"]["hex"]) in told
        weights.add(results["weights"])
    assert len(weights) == 2
