"""Two nodes (two processes of this machine) train one run; ranks are killed and stopped for real."""

import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from launch.nodes.attempts import read_attempts
from launch.status import status_of
from tests.launch.conftest import SPANWRIGHT, beat_in, read_json, start
from tests.processes import wait_for

CLUSTER = """\
kind: hostfile
hosts: [first, second]
nodes: 2
ranks_per_node: 1
interface: lo
supervise: {restarts: 4, backoff_seconds: 0.5, hang_seconds: 20, node_seconds: 60, start_seconds: 600}
"""


@pytest.mark.long  # a reduced form: test_network.py
def test_a_killed_rank_and_a_hanging_one_are_restarted_and_the_weights_are_those_of_an_undisturbed_run(
    prepared: Path, undisturbed: dict[str, Any], tmp_path: Path
) -> None:
    run_dir = tmp_path / "run"
    (tmp_path / "two.yaml").write_text(CLUSTER, encoding="utf-8")
    arguments = [
        "train", str(prepared / "small.yaml"), f"run.dir={run_dir}", f"data.dir={prepared / 'data'}",
        "--within", str(tmp_path / "two.yaml"), "--node",
    ]  # fmt: skip
    nodes = [start([*arguments, str(number)], tmp_path / f"node-{number}.log") for number in (0, 1)]
    try:
        killed = wait_for(lambda: beat_in(run_dir, attempt=1, rank=1, step=5))
        os.kill(killed["pid"], signal.SIGKILL)
        stopped = wait_for(lambda: beat_in(run_dir, attempt=2, rank=1, step=6))
        os.kill(stopped["pid"], signal.SIGSTOP)
        assert [node.wait(timeout=600) for node in nodes] == [0, 0]
    finally:
        for node in nodes:
            node.kill()
    said = (tmp_path / "node-0.log").read_text(encoding="utf-8")
    ends = [line for line in read_attempts(run_dir / "train") if "outcome" in line]
    assert [line["outcome"] for line in ends] == ["failed", "failed", "done"], said
    assert ends[0]["reason"].startswith("rank 1 was killed by SIGKILL")
    assert "the others wait for rank 1" in ends[1]["reason"]
    hang = (run_dir / "train" / "diagnoses" / "attempt-002.txt").read_text(encoding="utf-8")
    assert "distributed_c10d.py" in hang.partition("--- rank 0")[2].partition("--- rank 1")[0]
    assert not Path(f"/proc/{stopped['pid']}").exists()
    assert read_json(run_dir / "train" / "result.json")["weight_hash"] == undisturbed["weight_hash"]


def test_a_run_that_fails_at_the_same_step_again_stops_with_a_diagnosis(prepared: Path, tmp_path: Path) -> None:
    """A library that raises in every rank, in the way of the real one."""
    (tmp_path / "here.yaml").write_text("kind: local\nsupervise: {backoff_seconds: 0.1}\n", encoding="utf-8")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "safetensors.py").write_text("raise RuntimeError('a broken library')", encoding="utf-8")
    done = subprocess.run(
        [
            *SPANWRIGHT, "train", str(prepared / "small.yaml"), f"run.dir={tmp_path / 'run'}",
            f"data.dir={prepared / 'data'}", "--within", str(tmp_path / "here.yaml"),
        ],
        env={**os.environ, "PYTHONPATH": str(tmp_path / "broken")},
        capture_output=True, text=True, check=False, timeout=600,
    )  # fmt: skip
    assert done.returncode == 1
    assert "a broken library" in done.stderr
    assert "failed 2 times after step 0: another start would only fail again" in done.stderr
    assert (tmp_path / "run" / "train" / "diagnoses" / "attempt-002.txt").is_file()
    [warning] = status_of(tmp_path / "run").warnings
    assert warning.startswith("attempt 2 failed after step 0: rank 0 failed with exit code 1")
