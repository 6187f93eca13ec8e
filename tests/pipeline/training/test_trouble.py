"""A loss that is not finite or explodes: the run goes back, leaves the samples out, and says so for ever after."""

import math
from pathlib import Path
from typing import Any

import pytest

from launch.status import status_of
from pipeline.checkpoint.load import newest_record
from pipeline.checkpoint.verify import verify_checkpoint
from pipeline.training.config import TroubleConfig
from pipeline.training.history import read_history
from pipeline.training.loop import Progress, StepReport
from pipeline.training.positions import first_position
from pipeline.training.trouble import LossGuard, TroubleError, samples_to_skip

from .conftest import losses, metrics, result, run_jobs

STEPS, GLOBAL_BATCH = 10, 4
FIELDS = {"steps": STEPS, "global_batch": GLOBAL_BATCH, "micro_batch": 1, "evaluate_every": 5}
ROLLBACK = {"trouble": {"action": "rollback", "loss_factor": 3.0, "window": 5}}
BAD = 29  # a sample of step 7 (from 0), after the checkpoint of step 5


def step_report(loss: float, step: int = 1, grad_norm: float = 1.0) -> StepReport:
    nothing: Any = None
    return StepReport(Progress(step), loss, {}, 0.0, grad_norm, 1, 1.0, 0.0, 0.0, nothing)


@pytest.mark.parametrize("ranks", [1, pytest.param(2, marks=pytest.mark.long)])
def test_a_run_in_trouble_rolls_back_and_is_then_the_run_without_these_samples(
    make_run: Any, tmp_path: Path, ranks: int
) -> None:
    cases = [(2, math.nan), (3, 100.0)] if ranks == 1 else [(stage, math.nan) for stage in (0, 1, 2, 3)]
    jobs: list[dict[str, Any]] = []
    runs = []
    for stage, factor in cases:
        fields = {**FIELDS, "ranks": ranks, "zero_stage": stage, **ROLLBACK}
        broken, killed, clean = (make_run(**fields) for _ in range(3))
        runs.append((broken, killed, clean))
        trouble = {"break": [BAD, factor]}
        jobs += [
            {"run_dir": str(broken), **trouble},
            {"run_dir": str(killed), "stop_after": 12, **trouble}, {"run_dir": str(killed), **trouble},
            {"run_dir": str(clean), "skip": [28, 32]},
        ]  # fmt: skip
    stopped = make_run(**{**FIELDS, "ranks": ranks})
    jobs.append({"run_dir": str(stopped), "break": [BAD, math.nan]})
    hopeless = make_run(**{**FIELDS, "ranks": ranks, "trouble": {**ROLLBACK["trouble"], "max_skipped_steps": 1}})
    jobs += [{"run_dir": str(hopeless), "break": [BAD, math.nan], "training": {"trouble": {
        "action": "rollback", "max_skipped_steps": 1, "skip_steps": 2}}}]  # fmt: skip
    *reports, stop, give_up = [report[0] for report in run_jobs(jobs, ranks, tmp_path)]
    for number, (broken, killed, clean) in enumerate(runs):
        rolled, until_stop, went_on, straight = reports[4 * number : 4 * number + 4]
        assert [rolled["outcome"], went_on["outcome"], straight["outcome"]] == ["done"] * 3
        assert rolled["restored"] == [5]
        assert [until_stop["restored"], went_on["restored"]] == [[5], [9]]
        assert rolled["differences"] == went_on["differences"] == []
        assert losses(broken) == losses(clean) == losses(killed)
        assert result(broken)["weight_hash"] == result(clean)["weight_hash"] == result(killed)["weight_hash"]
        assert result(broken)["skipped_samples"] == GLOBAL_BATCH
        positions = [record["position"] for record in metrics(broken) if "loss" in record]
        assert positions == [4, 8, 12, 16, 20, 24, 28, 36, 40, 44]
        told = [
            (event["event"], event["step"]) for event in read_history(broken / "train") if event["event"] != "saved"
        ]
        assert told == [("start", 0), ("rollback", 5), ("done", 10)]
        for run_dir in (broken, killed):
            record = newest_record(run_dir / "train" / "checkpoints")
            assert record is not None
            [skipped] = record.skipped
            assert (skipped.start, skipped.stop, skipped.step) == (28, 32, 7)
            assert f"samples 28 to 31 were left out at step 7: {skipped.reason}" in status_of(run_dir).warnings
            assert ("nan" if number == 0 or ranks == 2 else "more than 3 times") in skipped.reason
    assert stop["outcome"].startswith("SpanwrightError: step 8: the loss is nan and the gradient norm ")
    assert "the checkpoint of step 5 is kept" in stop["outcome"]
    assert verify_checkpoint(stopped / "train" / "checkpoints" / "step-00000005").step == 5
    assert "training.trouble.max_skipped_steps=1" in give_up["outcome"]


def test_a_loss_explodes_when_it_is_a_multiple_of_the_median_of_those_before() -> None:
    guard = LossGuard(TroubleConfig(loss_factor=2.0, window=5))
    for loss in (5.0, 9.0, 5.0, 4.0, 6.0, 9.9, 5.0):
        guard(step_report(loss))
    assert [float.fromhex(loss) for loss in guard.recent] == [5.0, 4.0, 6.0, 9.9, 5.0]
    with pytest.raises(TroubleError, match=r"step 9: the loss is 10\.1, more than 2 times the 5 before it"):
        guard(step_report(10.1, step=9))
    again = LossGuard(TroubleConfig(loss_factor=2.0, window=5), guard.recent)
    with pytest.raises(TroubleError):
        again(step_report(10.1))


@pytest.mark.parametrize(("loss", "grad_norm"), [(math.nan, 1.0), (math.inf, 1.0), (1.0, math.nan), (1.0, math.inf)])
def test_what_is_not_finite_is_always_trouble(loss: float, grad_norm: float) -> None:
    with pytest.raises(TroubleError, match="the gradient norm"):
        LossGuard(TroubleConfig())(step_report(loss, grad_norm=grad_norm))


def test_steps_move_on_by_what_is_skipped_before_them() -> None:
    skipped = [(8, 12), (20, 24), (24, 28)]
    assert [first_position(step, 4, skipped) for step in range(6)] == [0, 4, 12, 16, 28, 32]
    assert [first_position(step, 4) for step in range(3)] == [0, 4, 8]


def test_samples_read_again_are_skipped_and_none_before_the_checkpoint() -> None:
    trouble = TroubleError(step=9, reason="bad")
    for resumed, skip_steps, expected in (
        (5, 1, [(9, 36)]), (5, 3, [(7, 28), (8, 32), (9, 36)]), (8, 3, [(8, 32), (9, 36)]),
    ):  # fmt: skip
        found = samples_to_skip(trouble, resumed, 4, (), skip_steps)
        assert [(samples.step, samples.start) for samples in found] == expected
        assert all(samples.stop == samples.start + 4 for samples in found)
