"""A real Slurm of two nodes: a run is submitted, told to save and requeued, and ends with the undisturbed weights."""

import json
import os
import re
import signal
import subprocess
from pathlib import Path
from typing import Any

from launch.nodes.attempts import read_attempts
from tests.conftest import needs
from tests.launch.clusters.slurm_site import slurm, slurm_site
from tests.launch.conftest import SPANWRIGHT, STEPS, read_json, steps_done, wait_for

CLUSTER = """\
kind: slurm
nodes: 2
ranks_per_node: 1
interface: lo
environment: {GREETING: it's a $HOME}
supervise: {restarts: 2, backoff_seconds: 1, start_seconds: 900, node_seconds: 120}
"""


def job(environment: dict[str, str], number: str, field: str) -> str:
    """A field of `scontrol show job`; empty when it has no such job."""
    found = re.search(rf"\b{field}=(\S+)", slurm(environment, "scontrol", "show", "job", number))
    return found[1] if found else ""


def spanwright(environment: dict[str, str], folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        [*SPANWRIGHT, *arguments], env=environment, cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@needs("slurmctld", "slurmd", "munged", root=True)
def test_a_job_told_to_save_requeues_itself_and_ends_with_the_undisturbed_weights(
    prepared: Path, undisturbed: dict[str, Any], tmp_path: Path
) -> None:
    run_dir = tmp_path / "run"
    (tmp_path / "site.yaml").write_text(CLUSTER, encoding="utf-8")
    (tmp_path / "slurm").mkdir()
    with slurm_site(tmp_path / "slurm") as environment:
        spanwright(
            environment, tmp_path, "submit", str(prepared / "small.yaml"), f"run.dir={run_dir}",
            f"data.paths=[{prepared / 'corpus.jsonl'}]", "--cluster", "site.yaml",
        )  # fmt: skip
        jobs = read_json(run_dir / "submission.json")["jobs"]
        assert list(jobs) == ["prep", "train", "export"]
        assert job(environment, jobs["train"], "Dependency") == f"afterok:{jobs['prep']}(unfulfilled)"

        wait_for(lambda: steps_done(run_dir) >= 5, seconds=600)
        rank = read_json(run_dir / "train" / "beats" / "rank-1.json")["pid"]
        os.kill(rank, signal.SIGSTOP)  # lest it be done before Slurm has told it
        slurm(environment, "scancel", "--batch", "--signal=USR1", jobs["train"])
        [status] = json.loads(spanwright(environment, tmp_path, "status", str(run_dir), "--json"))
        assert (status["stage"], status["jobs"]["train"], status["restarts"]) == ("train", "RUNNING", 0)
        os.kill(rank, signal.SIGCONT)
        wait_for(lambda: job(environment, jobs["train"], "Restarts") == "1")
        # Slurm waits two minutes before it starts a requeued job: a few seconds do (within the same
        # second its nodes still take it for the job that was just ended).
        wait_for(lambda: job(environment, jobs["train"], "JobState") == "PENDING")
        slurm(environment, "scontrol", "update", f"JobId={jobs['train']}", "StartTime=now+5")
        wait_for(lambda: (run_dir / "stages" / "evaluate.json").is_file(), seconds=900)

    ends = [line for line in read_attempts(run_dir / "train") if "outcome" in line]
    assert [line["outcome"] for line in ends] == ["stopped", "done"]
    assert 5 <= ends[0]["step"] < STEPS
    assert read_json(run_dir / "train" / "result.json")["weight_hash"] == undisturbed["weight_hash"]
    assert (run_dir / "export" / "hf" / "config.json").is_file()
