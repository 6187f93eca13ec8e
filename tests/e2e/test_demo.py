"""The demo at a smaller size, and the promise it shows: killed anywhere, the same weights."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.browser import open_browser
from tests.e2e.conftest import SMALL_RUN, SPANWRIGHT, spanwright
from tests.launch.conftest import steps_done
from tests.processes import wait_for

STEPS = 60


def test_the_demo_is_killed_resumes_and_reports(tmp_path: Path, small_corpus: Path) -> None:
    overrides = [*SMALL_RUN, f"data.paths=[{small_corpus}]", "training.steps=40", "checkpoint.save_every=5"]
    done = subprocess.run(
        [sys.executable, "-m", "launch.demo", f"run.dir={tmp_path / 'demo'}", *overrides],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "SIGKILL after step" in done.stdout
    assert "continuing after step" in done.stdout
    for line in ("held-out loss", "export", "report", "run folder", "model", "TensorBoard"):
        assert f"\n  {line}" in done.stdout
    metrics = [json.loads(line) for line in (tmp_path / "demo/train/metrics.jsonl").read_text().splitlines()]
    assert [record["step"] for record in metrics if "loss" in record] == list(range(1, 41))
    result = json.loads((tmp_path / "demo/train/result.json").read_text())
    assert result["heldout_loss_after"] < 0.9 * result["heldout_loss_before"]
    check_report(tmp_path / "demo/report.html")


def check_report(page: Path) -> None:
    """What a person sees at the end: the kill, the curves, what the model wrote."""
    if shutil.which("chromium") is None:  # the rest of the demo is tested all the same
        return
    with open_browser() as browser, browser.see(page, 390) as seen:
        assert seen.problems() == []
        text = seen.text()
        for said in ("Done: 40 steps.", "went on", "killed?", "Predictions over time", "step 40", "right", "masks"):
            assert said.lower() in text.lower(), said
        seen.page.get_by_role("radio", name="FLOPs").check()
        assert {
            "Loss by FLOPs",
            "Tokens per second by FLOPs",
            "Share of tokens hidden by FLOPs",
        } <= seen.charts().keys()


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory, small_corpus: Path) -> Path:
    """One dataset for all the runs below."""
    folder = tmp_path_factory.mktemp("prepared")
    done = spanwright("prep", "demo", *arguments(folder / "run", folder, small_corpus), cwd=folder)
    assert done.returncode == 0
    return folder


def arguments(run: Path, data: Path, corpus: Path) -> list[str]:
    return [
        *SMALL_RUN,
        f"run.dir={run}",
        f"data.dir={data / 'data'}",
        f"data.paths=[{corpus}]",
        f"training.steps={STEPS}",
        "checkpoint.save_every=5",
    ]


def result_of(run: Path) -> dict[str, object]:
    return json.loads((run / "train/result.json").read_text())


def losses_of(run: Path) -> list[str]:
    records = [json.loads(line) for line in (run / "train/metrics.jsonl").read_text().splitlines()]
    return [record["loss_hex"] for record in records if "loss" in record]


def ranks_of(launcher: int) -> list[int]:
    children = Path(f"/proc/{launcher}/task/{launcher}/children").read_text().split()
    return [int(child) for child in children]


def test_a_run_killed_at_three_random_points_ends_with_the_same_weights(prepared: Path, small_corpus: Path) -> None:
    straight, run = prepared / "straight", prepared / "killed"
    assert spanwright("run", "demo", *arguments(straight, prepared, small_corpus), cwd=prepared).returncode == 0
    seed = int(os.environ.get("SPANWRIGHT_TEST_SEED", time.time_ns() % 10**6))
    print(f"SPANWRIGHT_TEST_SEED={seed}")
    draw = random.Random(seed)
    command = [*SPANWRIGHT, "run", "demo", *arguments(run, prepared, small_corpus)]
    for victim in draw.sample(["launcher", "rank 0", "rank 1"], 3):
        step = steps_done(run) + draw.randrange(1, STEPS // 5)  # so the last kill still interrupts something
        kill_at_step(command, run, step, victim, draw.uniform(0.0, 0.05))
        assert not (run / "train/result.json").exists(), "the kill came too late: nothing was interrupted"
    done = subprocess.run(command, cwd=prepared, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert losses_of(run) == losses_of(straight), f"seed {seed}"
    assert result_of(run) == result_of(straight), f"seed {seed}"


def kill_at_step(command: list[str], run: Path, step: int, victim: str, delay: float) -> None:
    """SIGKILL the launcher or one rank, a moment after `step` is in the metrics; then nothing of the run is left."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_for(lambda: process.poll() is not None or steps_done(run) >= step)
    assert process.poll() is None, "the run ended before it could be killed"
    ranks = ranks_of(process.pid)
    assert len(ranks) == 2
    time.sleep(delay)
    os.kill(process.pid if victim == "launcher" else ranks[int(victim[-1])], signal.SIGKILL)
    code = process.wait(timeout=300)
    assert code == (-signal.SIGKILL if victim == "launcher" else 1)
    wait_for(lambda: not any(Path(f"/proc/{rank}").exists() for rank in ranks))
