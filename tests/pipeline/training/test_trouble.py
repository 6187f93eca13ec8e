"""A loss that is not finite or explodes: the run goes back, leaves the samples out, and says so for ever after."""

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest

from launch.status import status_of
from pipeline.checkpoint.load import newest_record
from pipeline.checkpoint.verify import verify_checkpoint
from pipeline.phases import BatchSizes
from pipeline.training.config import SpikeConfig, TroubleConfig
from pipeline.training.positions import first_position
from pipeline.training.reports.history import read_history
from pipeline.training.trouble import StepGuard, Trouble, TroubleError, samples_to_skip

from .conftest import losses, metrics, result, run_jobs

STEPS, GLOBAL_BATCH = 10, 4
FOURS = BatchSizes((0,), (4,), (1,))
FIELDS = {"steps": STEPS, "global_batch": GLOBAL_BATCH, "micro_batch": 1, "evaluate_every": 5}
ROLLBACK = {"trouble": {"action": "rollback", "loss_factor": 3.0, "window": 5}}
BAD = 29  # a sample of step 7 (from 0), after the checkpoint of step 5
LATE = 37  # of step 9, the last: eight losses before it make a window


Jobs = list[dict[str, Any]]


class Rollbacks(NamedTuple):
    """Runs that go back, and their jobs: by case one that breaks, one that is killed too, and one that is spared."""

    runs: list[tuple[Path, Path, Path]]
    stopped: Path
    jobs: Jobs


def rollbacks(make_run: Any, ranks: int) -> Rollbacks:
    cases = [(2, math.nan), (3, 100.0)] if ranks == 1 else [(stage, math.nan) for stage in (0, 1, 2, 3)]
    jobs: Jobs = []
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
    return Rollbacks(runs, stopped, jobs)


class Skips(NamedTuple):
    """Runs whose update is skipped (or not), and their jobs."""

    infinite: Path
    exploded: Path
    killed: Path
    paused: Path
    spiked: Path
    warned: Path
    jobs: Jobs


def skips(make_run: Any) -> Skips:
    skip = {**FIELDS, "trouble": {"action": "skip", "loss_factor": 3.0, "window": 5}}
    infinite, exploded, paused = (make_run(**skip) for _ in range(3))
    killed = make_run(**skip, log_every=100)  # no step of it is observed
    spiked, warned = (make_run(**FIELDS, trouble={"spikes": {"action": act, "window": 8}}) for act in ("skip", "warn"))
    pausing = {"trouble": {"action": "pause"}}
    jobs: Jobs = [
        {"run_dir": str(infinite), "break_gradient": BAD},
        {"run_dir": str(exploded), "break": [BAD, 100.0]},
        {"run_dir": str(killed), "break_gradient": BAD, "stop_after": 9}, {"run_dir": str(killed)},
        {"run_dir": str(paused), "break_gradient": BAD, "training": pausing},
        {"run_dir": str(paused), "break_gradient": BAD, "training": pausing},
        {"run_dir": str(paused), "break_gradient": BAD},
        {"run_dir": str(spiked), "break": [LATE, 100.0]}, {"run_dir": str(warned), "break": [LATE, 100.0]},
    ]  # fmt: skip
    return Skips(infinite, exploded, killed, paused, spiked, warned, jobs)


@pytest.fixture(scope="module")
def alone(make_run: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Rollbacks, Skips, list[dict[str, Any]]]:
    """All of them on one rank, and the reports of their jobs: one launch."""
    first, second = rollbacks(make_run, 1), skips(make_run)
    reports = run_jobs([*first.jobs, *second.jobs], 1, tmp_path_factory.mktemp("alone"))
    return first, second, [report for [report] in reports]


def test_a_run_in_trouble_rolls_back_and_is_then_the_run_without_these_samples(alone: Any) -> None:
    rolled, _, reports = alone
    check_rollbacks(rolled, reports[: len(rolled.jobs)], ["nan", "more than 3 times"])


@pytest.mark.long
def test_two_ranks_in_trouble_roll_back_at_every_stage(make_run: Any, tmp_path: Path) -> None:
    rolled = rollbacks(make_run, 2)
    check_rollbacks(rolled, [report[0] for report in run_jobs(rolled.jobs, 2, tmp_path)], ["nan"] * 4)


def check_rollbacks(given: Rollbacks, of_jobs: list[dict[str, Any]], reasons: list[str]) -> None:
    (runs, stopped, _), (*reports, stop, give_up) = given, of_jobs
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
            assert reasons[number] in skipped.reason
    assert stop["outcome"].startswith("SpanwrightError: step 8: the loss is nan and the gradient norm ")
    assert "the checkpoint of step 5 is kept" in stop["outcome"]
    assert verify_checkpoint(stopped / "train" / "checkpoints" / "step-00000005").step == 5
    assert "training.trouble.max_skipped_steps=1" in give_up["outcome"]


def test_an_update_that_is_skipped_leaves_no_trace_but_the_step_and_is_skipped_again_after_a_kill(alone: Any) -> None:
    rolled, (infinite, exploded, killed, paused, spiked, warned, _), of_jobs = alone
    reports = of_jobs[len(rolled.jobs) :]
    outcomes = [report["outcome"] for report in reports]
    assert [number for number, outcome in enumerate(outcomes) if outcome == "done"] == [0, 1, 3, 6, 7, 8]
    assert [difference for report in reports for difference in report["differences"]] == []
    assert losses(infinite) == losses(killed) == losses(paused)
    without = [[pair for pair in losses(run) if pair[0] != 8] for run in (infinite, exploded)]
    assert without[0] == without[1]
    hashes = {result(run)["weight_hash"] for run in (infinite, exploded, killed, paused)}
    assert len(hashes) == 1
    for run_dir, step, said in (
        (infinite, 8, "and the gradient norm inf"), (exploded, 8, "more than 3 times"), (spiked, 10, "deviations above")
    ):  # fmt: skip
        record = newest_record(run_dir / "train" / "checkpoints")
        assert record is not None
        [skipped] = record.skipped_updates
        samples = [4 * step - 4, 4 * step]
        assert [skipped.start, skipped.stop, skipped.step] == [*samples, step - 1]
        assert said in skipped.reason
        [told] = [event for event in read_history(run_dir / "train") if event["event"] == "trouble"]
        assert (told["step"], told["action"], told["samples"]) == (step, "skip", samples)
        assert any(line.startswith(f"step {step}, on samples {samples[0]} to") for line in status_of(run_dir).warnings)
        [line] = [line for line in metrics(run_dir) if "trouble" in line]
        assert (line["step"], line["trouble"]["reason"]) == (step, skipped.reason)
    assert outcomes[4].startswith("StoppedEarlyError: step 8: the loss is ")
    assert "(samples 28 to 31); paused, and the state before this step is saved" in outcomes[4]
    assert outcomes[5].startswith("SpanwrightError: step 8: ")
    assert "as before" in outcomes[5]
    [line] = [line for line in metrics(warned) if "trouble" in line]
    assert (line["step"], line["trouble"]["action"]) == (10, "warn")
    assert losses(warned)[:-1] == losses(spiked)[:-1]
    assert result(warned)["weight_hash"] != result(spiked)["weight_hash"]


def test_a_logged_step_tells_of_its_gradients_its_logits_and_its_embeddings(
    alone: Any,
) -> None:
    _, (infinite, _, killed, *_), _ = alone
    observed = [line for line in metrics(infinite) if "loss" in line and "trouble" not in line]
    assert len(observed) == STEPS - 1
    for line in observed:
        found = line["statistics"]
        parts = {name: norm for name, norm in found.items() if name.startswith("gradient/")}
        assert {"gradient/embedding", "gradient/encoder.blocks.1", "gradient/decoder.norm"} < parts.keys()
        assert math.hypot(*parts.values()) == pytest.approx(line["grad_norm"], rel=1e-6)  # sums in another order
        assert 0 < found["logit/mean_log_z"] < found["logit/max"] + math.log(1000)  # of fewer than 1,000 tokens
        assert found["embedding/tev"] > found["embedding/tev_deviation"] > 0
    assert not any("statistics" in line for line in metrics(killed))


@pytest.mark.long
def test_an_update_is_skipped_alike_at_every_stage_in_both_precisions(make_run: Any, tmp_path: Path) -> None:
    cases = [(stage, precision) for stage in range(4) for precision in ("bf16", "fp32")]
    skip = {**FIELDS, "ranks": 2, "trouble": {"action": "skip", "loss_factor": 3.0, "window": 5}}
    runs = [make_run(**skip, zero_stage=stage, precision=precision) for stage, precision in cases for _ in range(3)]
    jobs = []
    for first, second, killed in zip(runs[::3], runs[1::3], runs[2::3], strict=True):
        jobs += [{"run_dir": str(first), "break_gradient": BAD}, {"run_dir": str(second), "break": [BAD, 100.0]}]
        jobs += [{"run_dir": str(killed), "break_gradient": BAD, "stop_after": 9}, {"run_dir": str(killed)}]
    reports = run_jobs(jobs, 2, tmp_path)
    assert [difference for ranks in reports for report in ranks for difference in report["differences"]] == []
    for first, second, killed in zip(runs[::3], runs[1::3], runs[2::3], strict=True):
        assert losses(first) == losses(killed)
        hashes = {result(run)["weight_hash"] for run in (first, second, killed)}
        assert len(hashes) == 1
        record = newest_record(first / "train" / "checkpoints")
        assert record is not None
        assert [skipped.step for skipped in record.skipped_updates] == [7]


def judged(guard: StepGuard, loss: float, grad_norm: float = 1.0, step: int = 1) -> tuple[bool, str | None]:
    """Whether the step is made, and what is said of it."""
    judgement = guard.judge(step, 4 * step, 4 * step + 4, loss)
    made = judgement(grad_norm)
    return made, judgement.trouble.reason if judgement.trouble else None


def test_a_loss_explodes_when_it_is_a_multiple_of_the_median_of_those_before() -> None:
    config = TroubleConfig(loss_factor=2.0, window=5)
    guard = StepGuard(config)
    for loss in (5.0, 9.0, 5.0, 4.0, 6.0, 9.9, 5.0):
        assert judged(guard, loss) == (True, None)
    assert [float.fromhex(loss) for loss in guard.recent_losses[-5:]] == [5.0, 4.0, 6.0, 9.9, 5.0]
    for each in (guard, StepGuard(config, record=remembered(guard))):
        judgement = each.judge(8, 32, 36, 10.1)
        assert not judgement(1.0)
        with pytest.raises(
            TroubleError, match=r"step 9: the loss is 10\.1, more than 2 times the 5 before it \(samples"
        ):
            judgement.settle()


def remembered(guard: StepGuard) -> Any:
    """What of a guard a checkpoint's record has."""
    return SimpleNamespace(
        recent_losses=guard.recent_losses, recent_grad_norms=guard.recent_grad_norms,
        skipped_updates=guard.skipped_updates,
    )  # fmt: skip


def test_a_spike_is_many_deviations_above_the_median_of_a_full_window_whatever_a_few_of_those_were() -> None:
    spikes = SpikeConfig(window=8, deviations=6.0)
    for watched, good, bad in (("loss", (2.0, 1.0), (9.0, 1.0)), ("gradient norm", (2.0, 1.0), (2.0, 9.0))):
        guard = StepGuard(TroubleConfig(spikes=spikes), phases={0, 40})
        for number in range(8):  # two of the eight are far off, and say nothing of the others
            off = 1.0 + 0.01 * (number % 3) + 100.0 * (number in (2, 5))
            assert judged(guard, good[0] * off, good[1] * off) == (True, None)
        for each in (StepGuard(TroubleConfig(spikes=spikes), record=remembered(guard)), guard):
            made, said = judged(each, *bad)
            assert made  # the default is to say so
            assert said is not None
            assert said.startswith(f"the {watched} is 9, ")
        assert judged(guard, 1e-6, 1e-6) == (True, None)  # below is no spike
        assert judged(guard, 900.0, 900.0, step=40) == (True, None)  # in a new phase the past is no measure


def test_updates_are_skipped_only_so_many_times() -> None:
    guard = StepGuard(TroubleConfig(action="skip", max_skipped_steps=2))
    for step in (1, 2):
        judgement = guard.judge(step, 4 * step, 4 * step + 4, math.nan)
        assert not judgement(1.0)
        judgement.settle()
    judgement = guard.judge(3, 12, 16, math.nan)
    assert not judgement(1.0)
    with pytest.raises(TroubleError, match="2 updates have been skipped already"):
        judgement.settle()


@pytest.mark.parametrize(("loss", "grad_norm"), [(math.nan, 1.0), (math.inf, 1.0), (1.0, math.nan), (1.0, math.inf)])
def test_what_is_not_finite_is_always_trouble(loss: float, grad_norm: float) -> None:
    made, said = judged(StepGuard(TroubleConfig()), loss, grad_norm)
    assert not made
    assert said == f"the loss is {loss} and the gradient norm {grad_norm}"


def test_steps_move_on_by_what_is_skipped_before_them() -> None:
    skipped = [(8, 12), (20, 24), (24, 28)]
    assert [first_position(step, FOURS, skipped) for step in range(6)] == [0, 4, 12, 16, 28, 32]
    assert [first_position(step, FOURS) for step in range(3)] == [0, 4, 8]
    # Three steps of 4 samples, two of 8, then of 2: at position 12, and at 28, wherever steps were skipped.
    phased = BatchSizes((0, 12, 28), (4, 8, 2), (1, 1, 1))
    assert [first_position(step, phased) for step in range(8)] == [0, 4, 8, 12, 20, 28, 30, 32]
    skipped = [(8, 12), (12, 20), (30, 32)]
    assert [first_position(step, phased, skipped) for step in range(6)] == [0, 4, 20, 28, 32, 34]


def test_samples_read_again_are_skipped_and_none_before_the_checkpoint() -> None:
    trouble = Trouble(9, 36, 40, "bad", "rollback")
    for resumed, skip_steps, expected in (
        (5, 1, [(9, 36)]), (5, 3, [(7, 28), (8, 32), (9, 36)]), (8, 3, [(8, 32), (9, 36)]),
    ):  # fmt: skip
        found = samples_to_skip(trouble, resumed, FOURS, (), skip_steps)
        assert [(samples.step, samples.start) for samples in found] == expected
        assert all(samples.stop == samples.start + 4 for samples in found)
