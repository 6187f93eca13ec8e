"""What a person is told of a run that still works, each warning for a real fault: in the progress, and by `status`."""

import contextlib
import os
import re
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from launch.status import status_of
from tests.conftest import needs
from tests.launch.conftest import SPANWRIGHT, paused, read_json, start, steps_done, wait_for

pytestmark = pytest.mark.long


@contextlib.contextmanager
def slowed_down(pid: int, run_seconds: float, stop_seconds: float) -> Iterator[None]:
    """A process that is stopped most of the time, as on a machine that does something else."""
    over = threading.Event()

    def toggle() -> None:
        while not over.wait(run_seconds):
            os.kill(pid, signal.SIGSTOP)
            over.wait(stop_seconds)
            os.kill(pid, signal.SIGCONT)

    thread = threading.Thread(target=toggle)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@contextlib.contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[Path]:
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@needs("mount", root=True)
def test_a_slow_rank_and_a_full_disk_are_told_while_the_run_goes_on(prepared: Path, tmp_path: Path) -> None:
    log = tmp_path / "train.log"

    def told(pattern: str, run_dir: Path) -> Callable[[], bool]:
        found = re.compile(rf"warning: {pattern}")
        return lambda: bool(
            found.search(log.read_text()) and any(found.match(f"warning: {w}") for w in status_of(run_dir).warnings)
        )

    with small_disk(tmp_path / "disk", megabytes=200) as disk:
        run_dir = disk / "run"
        train = start(
            [
                "train", str(prepared / "small.yaml"), f"run.dir={run_dir}", f"data.dir={prepared / 'data'}",
                "training.ranks=3", "training.global_batch=6", "training.steps=100000", 
                "training.log_every=5", "checkpoint.save_every=20",
            ],
            log,
        )  # fmt: skip
        try:
            wait_for(lambda: steps_done(run_dir) >= 20)
            ranks = [read_json(run_dir / "train" / "beats" / f"rank-{rank}.json")["pid"] for rank in range(3)]
            with slowed_down(ranks[2], run_seconds=0.02, stop_seconds=0.1):
                wait_for(told(r"rank 2 on \S+ is slow", run_dir))
            with paused(run_dir, rank=0):  # no save meanwhile: it would find no room
                size = sum(
                    path.stat().st_size for path in sorted(run_dir.glob("train/checkpoints/step-*"))[-1].iterdir()
                )
                free = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
                (disk / "filler").write_bytes(b"0" * (free - size))
            wait_for(told("the disk is nearly full", run_dir))
            (disk / "filler").unlink()
            train.send_signal(signal.SIGTERM)
            assert train.wait(timeout=120) == 75
        finally:
            train.kill()


def test_a_loss_that_is_no_number_is_told_with_the_step_and_by_status(prepared: Path, tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    (tmp_path / "here.yaml").write_text("kind: local\nsupervise: {backoff_seconds: 0.1}\n", encoding="utf-8")
    done = subprocess.run(
        [
            *SPANWRIGHT, "train", str(prepared / "small.yaml"), f"run.dir={run_dir}", f"data.dir={prepared / 'data'}",
            "training.learning_rate=1e30", "training.ranks=1", "--within", str(tmp_path / "here.yaml"),
        ],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1, done.stdout + done.stderr
    trouble = re.search(r"step (\d+): the loss is (nan|inf)", done.stderr)
    assert trouble, done.stderr
    assert "another start would only fail again" in done.stderr
    [warning] = status_of(run_dir).warnings
    assert warning.startswith(f"attempt 2 failed after step {int(trouble[1]) - 1}: {trouble[0]}")
