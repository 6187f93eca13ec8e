"""Runs that are killed, stopped, moved to other world sizes or damaged end as if nothing had happened."""

import gzip
import json
import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from data_prep.errors import InputError
from launch.local import launch_local
from pipeline.checkpoint.load import newest_valid, saved_steps
from pipeline.training.profile.request import WantedSteps, request_profile, requested_profile
from pipeline.training.reports.metrics import read_metrics
from tests.processes import held_still, is_told_to_stop, wait_for

from .conftest import launch_command, losses, metrics, result, run_ranks
from .plain_path import check_losses

ACCUMULATING = {"global_batch": 4, "micro_batch": 1, "loader_workers": 1, "evaluate_every": 4}
"""On two ranks: two forwards a step. An epoch ends inside step 8."""


def wait_for_step(run_dir: Path, step: int, process: subprocess.Popen[bytes], seconds: float = 300.0) -> None:
    """Until the metrics say that `step` is done (and the process still runs)."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        done = [record["step"] for record in read_metrics(run_dir / "train" / "metrics.jsonl") if "loss" in record]
        if done and done[-1] >= step:
            return
        assert process.poll() is None, "the run ended before it could be disturbed"
        time.sleep(0.002)  # a step takes a few hundredths of a second
    raise AssertionError(f"step {step} was not reached in {seconds} seconds")


def start(run_dir: Path, ranks: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(launch_command(run_dir, ranks), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def ranks_of(run_dir: Path) -> list[int]:
    """Process ids of the ranks (and their loader workers) of a run that are alive."""
    found = subprocess.run(
        ["pgrep", "-f", f"pipeline.training {run_dir}$"], capture_output=True, text=True, check=False
    )
    return [int(pid) for pid in found.stdout.split()]


def rank_process(run_dir: Path, rank: int) -> int:
    """The process id of one rank (which leads a session; its loader workers look the same otherwise)."""
    named = f"RANK={rank}".encode()
    return next(
        pid
        for pid in ranks_of(run_dir)
        if os.getsid(pid) == pid and named in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    )


def wait_until_gone(run_dir: Path) -> None:
    deadline = time.monotonic() + 120
    while ranks_of(run_dir):
        assert time.monotonic() < deadline, f"ranks survived: {ranks_of(run_dir)}"
        time.sleep(0.05)


@pytest.fixture(scope="module")
def undisturbed(make_run, launch) -> Path:
    """Twelve steps on two ranks in one go, dropout on, two forwards a step, through the end of the first epoch.

    Two of them are profiled, which the runs that are compared with this one are not.
    """
    run_dir = make_run(ranks=2, **ACCUMULATING)
    request_profile(run_dir / "train", WantedSteps(None, 2))
    done = launch(run_dir, ranks=2)
    assert done.returncode == 0, done.stderr
    return run_dir


def test_a_run_learns_and_reports_every_step(undisturbed):
    records = [record for record in metrics(undisturbed) if "loss" in record]
    assert [record["step"] for record in records] == list(range(1, 13))
    assert [record["position"] for record in records] == list(range(4, 52, 4))
    fields = {"step", "position", "tokens", "loss", "loss_hex", "terms", "lr", "grad_norm", "tokens_per_second"}
    assert fields | {"data_wait", "step_seconds", "flops", "views", "statistics"} == set(records[0])
    assert [record["step"] for record in metrics(undisturbed) if "heldout_loss" in record] == [0, 4, 8, 12]
    summary = result(undisturbed)
    assert summary["heldout_loss_after"] < summary["heldout_loss_before"]
    assert summary["loss_hex"] == records[-1]["loss_hex"]


@pytest.mark.usefixtures("one_thread")
def test_the_losses_of_two_ranks_are_those_of_a_plain_loop_in_float64(undisturbed):
    check_losses(undisturbed)


def test_a_profile_says_where_the_time_of_its_steps_went(undisturbed):
    assert requested_profile(undisturbed / "train") is None
    folder = undisturbed / "train" / "profile"
    assert sorted(path.name for path in folder.iterdir()) == [
        "steps-4-5.json",
        "steps-4-5.md",
        "steps-4-5.trace.json.gz",
    ]
    page = (folder / "steps-4-5.md").read_text(encoding="utf-8")
    parts = re.findall(r"^  (\w[\w ]*?) +[\d.]+ [mu]?s +([\d.]+)%", page, re.MULTILINE)
    assert {"forward", "backward", "optimizer", "communication", "saving", "evaluation"} <= {name for name, _ in parts}
    assert sum(float(share) for _, share in parts) == pytest.approx(100.0, abs=1.0)
    known = json.loads((folder / "steps-4-5.json").read_text(encoding="utf-8"))
    for name, share in parts:  # the page rounds
        assert known["shares"][name] == pytest.approx(float(share) / 100, abs=0.0006)
    assert "training.micro_batch=2: " in page
    with gzip.open(folder / "steps-4-5.trace.json.gz", "rt", encoding="utf-8") as file:
        names = [event.get("name", "") for event in json.load(file)["traceEvents"]]
    assert names.count("training: backward") == 2 * 2
    assert any(name.startswith("gloo:") for name in names)


def tensorboard(run_dir: Path) -> EventAccumulator:
    """What TensorBoard shows of a run: scalars by tag, samples as text."""
    return EventAccumulator(str(run_dir / "train" / "tensorboard"), size_guidance={"tensors": 0}).Reload()


def scalars(run_dir: Path, *tags: str) -> dict[str, list[tuple[int, float]]]:
    """(step, value) of everything TensorBoard shows under `tags`."""
    events = tensorboard(run_dir)
    return {tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in tags}


def test_tensorboard_has_every_figure_of_the_metrics(undisturbed):
    steps = [record for record in metrics(undisturbed) if "loss" in record]
    evaluations = [record for record in metrics(undisturbed) if "heldout_loss" in record]
    expected = {
        "loss/denoising": [(r["step"], r["terms"]["denoising"]) for r in steps],
        "training/learning_rate": [(r["step"], r["lr"]) for r in steps],
        "training/grad_norm": [(r["step"], r["grad_norm"]) for r in steps],
        "speed/tokens_per_second": [(r["step"], r["tokens_per_second"]) for r in steps],
        "speed/data_wait": [(r["step"], r["data_wait"]) for r in steps],
        "heldout/denoising": [(r["step"], r["heldout_terms"]["denoising"]) for r in evaluations],
    }
    for tag, shown in scalars(undisturbed, *expected).items():
        assert [step for step, _ in shown] == [step for step, _ in expected[tag]]
        # TensorBoard keeps float32.
        assert [value for _, value in shown] == pytest.approx([value for _, value in expected[tag]], rel=1e-6)


def test_tensorboard_has_span_statistics_of_every_step(undisturbed):
    names = ("spans", "mean_span_length", "noise_density", "labels", "encoder_fill", "decoder_mean_length")
    shown = scalars(undisturbed, *(f"views/{name}" for name in names))
    assert all([step for step, _ in values] == list(range(1, 13)) for values in shown.values())
    means = {name: sum(value for _, value in shown[f"views/{name}"]) / 12 for name in names}
    assert 0.1 < means["noise_density"] < 0.2
    assert 1.5 < means["mean_span_length"] < 4.0  # 3 but for short pieces
    assert 0.0 < means["encoder_fill"] <= 1.0
    # A label for each hidden token, each sentinel and each end of a sequence.
    assert means["labels"] > means["spans"] * (means["mean_span_length"] + 1) * 0.9


def test_tensorboard_has_views_and_predictions_as_text_whenever_held_out_loss_is_taken(undisturbed):
    samples = tensorboard(undisturbed).Tensors("samples/text_summary")
    assert [sample.step for sample in samples] == [4, 8, 12]
    for sample in samples:
        text = sample.tensor_proto.string_val[0].decode()
        assert [part.split("`")[0] for part in text.split("\n\n")] == [
            "**encoder** ", "**decoder** ", "**decoder labels** ", "**predicted** ",
        ]  # fmt: skip
        assert all("<extra_id_0>" in part for part in text.split("\n\n")[:3])
        assert text.split("\n\n")[3] != "**predicted** ``"
    records = read_metrics(undisturbed / "train" / "samples.jsonl")
    assert [record["step"] for record in records] == [4, 8, 12]
    assert all(sample["asked"] and sample["reads"]["encoder"] for record in records for sample in record["samples"])
    assert records[0]["samples"][0]["reads"] == records[2]["samples"][0]["reads"]  # the same held-out sequences


def test_killed_at_three_moments_a_run_ends_bit_equal(undisturbed, make_run, launch, tmp_path):
    run_dir = make_run(ranks=2, **ACCUMULATING)
    kill_at_step(run_dir, 2)  # before any save
    kill_between_forwards(run_dir, 8, tmp_path)  # the step in which the first epoch ends
    kill_at_step(run_dir, 9)
    done = launch(run_dir, ranks=2)
    assert done.returncode == 0, done.stderr
    # It was killed in step 10 or later; the save of step 10 goes on beside the training.
    assert re.search(r"continuing after step (5|10) of 12", done.stdout)
    assert losses(run_dir) == losses(undisturbed)
    assert result(run_dir) == result(undisturbed)
    tags = ("loss/denoising", "heldout/denoising", "views/spans")
    assert scalars(run_dir, *tags) == scalars(undisturbed, *tags)


def kill_at_step(run_dir: Path, step: int) -> None:
    """Start the run and send the launcher SIGKILL as soon as `step` is done, whatever its ranks are at."""
    process = start(run_dir, ranks=2)
    wait_for_step(run_dir, step, process)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    wait_until_gone(run_dir)
    assert step <= metrics_step(run_dir) < 12, "the kill came too late to disturb anything"


def kill_between_forwards(run_dir: Path, step: int, reports: Path) -> None:
    """Start the run; rank 1 sends itself SIGKILL after the first of the two backwards of `step`."""
    saved = max(saved_steps(run_dir / "train" / "checkpoints"), default=0)
    assert saved < step
    codes, output = run_ranks("observed_rank.py", 2, run_dir, reports, 1, 2 * (step - 1 - saved) + 1)
    assert codes[1] == -signal.SIGKILL, output
    assert codes[0] == 1, "rank 0 went on without the other"
    assert metrics_step(run_dir) == step - 1


def metrics_step(run_dir: Path) -> int:
    return read_metrics(run_dir / "train" / "metrics.jsonl")[-1]["step"]


def test_a_killed_rank_ends_the_others_and_is_named(make_run):
    run_dir = make_run(ranks=2, **ACCUMULATING)
    process = start(run_dir, ranks=2)
    wait_for_step(run_dir, 6, process)
    os.kill(rank_process(run_dir, 1), signal.SIGKILL)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 1
    assert b"rank 1 was killed by SIGKILL" in errors
    wait_until_gone(run_dir)


def test_asked_to_stop_by_any_signal_a_run_saves_its_last_step_and_goes_on_later(undisturbed, make_run, launch):
    run_dir = make_run(ranks=2, checkpoint={"save_every": 100}, **ACCUMULATING)
    stopped_at = 0
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
        process = start(run_dir, ranks=2)
        wait_for_step(run_dir, stopped_at + 1, process)
        with held_still(rank_process(run_dir, 1)) as rank:
            with pytest.raises(InputError, match="another process trains this run"):
                launch_local(run_dir, ranks=2)
            process.send_signal(number)
            wait_for(lambda rank=rank, number=number: is_told_to_stop(rank, number))
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 75, errors
        assert f"asked by {number.name}".encode() in errors
        before, stopped_at = stopped_at, metrics(run_dir)[-1]["step"]
        assert before < stopped_at < 12
        assert saved_steps(run_dir / "train" / "checkpoints")[0] == stopped_at
        assert newest_valid(run_dir / "train" / "checkpoints").problems == []
    done = launch(run_dir, ranks=2)
    assert done.returncode == 0, done.stderr
    assert losses(run_dir) == losses(undisturbed)
    assert result(run_dir) == result(undisturbed)


def test_asked_twice_a_run_stops_at_once(make_run):
    run_dir = make_run(ranks=2, checkpoint={"background": False}, **ACCUMULATING)
    process = start(run_dir, ranks=2)
    wait_for_step(run_dir, 6, process)
    for rank in (0, 1):
        os.kill(rank_process(run_dir, rank), signal.SIGSTOP)  # so that both signals arrive before the step ends
    saved = saved_steps(run_dir / "train" / "checkpoints")
    process.send_signal(signal.SIGINT)
    time.sleep(0.2)
    process.send_signal(signal.SIGUSR1)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 1
    assert b"stopped at once" in errors
    wait_until_gone(run_dir)
    assert saved_steps(run_dir / "train" / "checkpoints") == saved != []
    assert newest_valid(run_dir / "train" / "checkpoints").problems == []


def test_the_wall_clock_limit_saves_and_stops(make_run, launch):
    run_dir = make_run(steps=2000, stop_after=8.0, checkpoint={"save_every": 2000})
    done = launch(run_dir)
    assert done.returncode == 75
    stopped_at = metrics(run_dir)[-1]["step"]
    assert 0 <= stopped_at < 2000
    assert saved_steps(run_dir / "train" / "checkpoints") == ([stopped_at] if stopped_at else [])
    assert f"stopped after step {stopped_at} of 2000 (asked by training.stop_after)" in done.stderr


def test_damaged_checkpoints_are_named_and_the_newest_valid_one_continues(undisturbed, launch, tmp_path):
    run_dir = tmp_path / "run"
    shutil.copytree(undisturbed, run_dir)
    (run_dir / "train" / "result.json").unlink()
    weights = run_dir / "train" / "checkpoints" / "step-00000012" / "master-00000.safetensors"
    data = bytearray(weights.read_bytes())
    data[len(data) // 2] ^= 1
    weights.write_bytes(data)
    done = launch(run_dir, ranks=2)
    assert done.returncode == 0, done.stderr
    assert "step-00000012/master-00000.safetensors: changed since it was written" in done.stdout
    assert "continuing after step 10 of 12" in done.stdout
    assert losses(run_dir) == losses(undisturbed)
    assert result(run_dir) == result(undisturbed)
    names = sorted(path.name for path in (run_dir / "train" / "checkpoints").iterdir())
    assert names == ["damaged-step-00000012", "step-00000010", "step-00000012"]


def test_a_run_without_any_valid_checkpoint_stops_and_says_so(undisturbed, launch, tmp_path):
    run_dir = tmp_path / "run"
    shutil.copytree(undisturbed, run_dir)
    for manifest in (run_dir / "train" / "checkpoints").glob("*/manifest.json"):
        manifest.write_bytes(b"")
    done = launch(run_dir, ranks=1)
    assert done.returncode == 1
    assert "none of its 2 checkpoints is valid" in done.stderr
    assert "step-00000012/manifest.json: not a checkpoint manifest" in done.stderr


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seed": 6}, "run.seed was 5 when this run was trained and is 6 now"),
        ({"model": {"d_ff": 96}}, "model.d_ff was 64 when this run was trained and is 96 now"),
    ],
)
def test_a_changed_config_is_refused_with_both_values(undisturbed, make_run, launch, tmp_path, changes, message):
    run_dir = tmp_path / "run"
    shutil.copytree(undisturbed, run_dir)
    make_run(run_dir=run_dir, ranks=2, **ACCUMULATING, **changes)
    done = launch(run_dir, ranks=1)
    assert done.returncode == 2
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_save_that_cannot_be_written_is_one_message_and_leaves_nothing(undisturbed, make_run, launch):
    run_dir = make_run(ranks=2, **ACCUMULATING)
    limited = (
        "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000)); "  # a full disk's stand-in
    )
    command = launch_command(run_dir, 2)
    done = subprocess.run(
        [*command[:-1], limited + command[-1]], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 1
    assert "the checkpoint step-00000005 could not be saved" in done.stderr
    assert ".safetensors: cannot write it: File too large" in done.stderr
    assert list((run_dir / "train" / "checkpoints").iterdir()) == []
    assert launch(run_dir, ranks=2).returncode == 0
    assert result(run_dir) == result(undisturbed)
