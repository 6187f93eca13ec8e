"""Runs with `training.float8`, emulated on the CPU: refused where it cannot be, learning, and continued to the bit."""

import copy
import math
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from data_prep.errors import InputError
from pipeline.checkpoint.compatible import check_continues
from pipeline.checkpoint.weights import load_weights, newest_checkpoint
from pipeline.config import load_config, load_run
from pipeline.evaluation.probes.heldout import training_terms
from pipeline.evaluation.subject import RunParts
from pipeline.training.assembly import open_data
from pipeline.training.config import TrainingConfig

from .conftest import losses, metrics, run_jobs

STEPS, STOPS = 24, (5, 9)
"""In a part, before it is stopped: after steps 5 and 14."""
FIELDS = {"steps": STEPS, "evaluate_every": 6, "global_batch": 4, "micro_batch": 1, "model": {"num_layers": 1}}
RUNS: dict[str, dict[str, Any]] = {
    "bf16": {"zero_stage": 1},
    "tensorwise": {"zero_stage": 1, "float8": "tensorwise"},
    "rowwise": {"zero_stage": 2, "float8": "rowwise", "activation_checkpointing": True},
    "without ZeRO": {"zero_stage": 0, "float8": "tensorwise", "micro_batch": 2},
}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"precision": "fp32"}, r"float8 is 'rowwise' and precision is 'fp32'.*precision=bf16, or float8=null"),
        ({"zero_stage": 3}, r"float8 is 'rowwise' and zero_stage is 3.*take stage 2 or less, or float8=null"),
    ],
)
def test_beside_what_it_cannot_work_with_it_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        TrainingConfig(steps=1, global_batch=1, micro_batch=1, float8="rowwise", **fields)


def test_a_run_goes_on_only_with_the_products_it_was_trained_with() -> None:
    config = load_config("t5_span", ["data.paths=[corpus]", "training.float8=tensorwise"]).model_dump(mode="json")
    check_continues(config, config, step=20)
    without = copy.deepcopy(config)
    without["training"]["float8"] = None
    with pytest.raises(
        InputError, match=r"training\.float8 was 'tensorwise' when this run was trained and is None now"
    ):
        check_continues(config, without, step=20)
    del without["training"]["float8"]  # a checkpoint from before there was such a field
    with pytest.raises(InputError, match=r"training\.float8 was None .* and is 'tensorwise' now"):
        check_continues(without, config, step=20)


@pytest.mark.long
@pytest.mark.parametrize("ranks", [1, 2])
def test_runs_follow_bfloat16s_and_stopped_anywhere_go_on_to_the_bit(make_run: Any, tmp_path: Path, ranks: int) -> None:
    runs: dict[str, tuple[Path, Path]] = {}
    jobs: list[dict[str, Any]] = []
    for name, fields in RUNS.items():
        straight, stopped = (make_run(**{**FIELDS, **fields, "ranks": ranks}) for _ in range(2))
        runs[name] = straight, stopped
        jobs += [{"run_dir": str(straight)}, *({"run_dir": str(stopped), "stop_after": stop} for stop in STOPS)]
        jobs.append({"run_dir": str(stopped), "stop_after": None})
    reports = run_jobs(jobs, ranks, tmp_path)
    assert all(report[0]["differences"] == [] for report in reports)
    wanted = heldout(runs["bf16"][0])
    for name, (straight, stopped) in runs.items():
        assert losses(stopped) == losses(straight), name
        assert (losses(straight) == losses(runs["bf16"][0])) is (name == "bf16")
        found = heldout(straight)
        assert found[-1] < found[0] - 1.0, name
        assert probed(straight, ranks) == found[-1], name
        # Roundings lead each run another way; what a step of the schedule brings is ten times as much.
        assert all(abs(one - other) < 0.1 for one, other in zip(found, wanted, strict=True)), name


def probed(run_dir: Path, ranks: int) -> float:
    """What the probe of held-out losses says of the newest checkpoint."""
    config = load_run(run_dir)
    weights = load_weights(newest_checkpoint(config.checkpoints))
    return math.fsum(training_terms(RunParts(config, open_data(config), weights, ranks, 1)).values())


def heldout(run_dir: Path) -> list[float]:
    """The held-out losses of a run, in order."""
    return [float.fromhex(record["heldout_loss_hex"]) for record in metrics(run_dir) if "heldout_loss_hex" in record]
