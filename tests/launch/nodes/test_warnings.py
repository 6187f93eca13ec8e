"""What a person is told of a rank that is slowed down for real: in the progress, and by `status`."""

import contextlib
import os
import re
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from launch.status import status_of
from tests.launch.conftest import read_json, start, steps_done
from tests.processes import wait_for

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


def test_a_slow_rank_is_told_while_the_run_goes_on(prepared: Path, tmp_path: Path) -> None:
    log = tmp_path / "train.log"

    def told(pattern: str, run_dir: Path) -> Callable[[], bool]:
        found = re.compile(rf"warning: {pattern}")
        return lambda: bool(
            found.search(log.read_text()) and any(found.match(f"warning: {w}") for w in status_of(run_dir).warnings)
        )

    run_dir = tmp_path / "run"
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
        train.send_signal(signal.SIGTERM)
        assert train.wait(timeout=120) == 75
    finally:
        train.kill()
