"""A real Slurm of two nodes: runs are preempted, killed, chained, cancelled, and end with the undisturbed weights."""

import json
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from launch.nodes.attempts import read_attempts
from tests.conftest import needs
from tests.launch.clusters.slurm_site import slurm, slurm_site
from tests.launch.conftest import SPANWRIGHT, STEPS, paused, read_json, steps_done
from tests.processes import is_told_to_stop, wait_for

CLUSTER = """\
kind: slurm
nodes: 2
ranks_per_node: 1
interface: lo
environment: {GREETING: it's a $HOME}
modules: [weather]
supervise: {restarts: 2, backoff_seconds: 1, start_seconds: 900, node_seconds: 120}
"""
pytestmark = needs("slurmctld", "slurmd", "munged", "modulecmd", root=True)


class SlurmRun:
    """A run that was submitted, and the cluster it runs on."""

    def __init__(self, environment: dict[str, str], prepared: Path, folder: Path, *overrides: str) -> None:
        self.environment, self.folder, self.run_dir = environment, folder, folder / "run"
        (folder / "site.yaml").write_text(CLUSTER, encoding="utf-8")
        self._arguments = [
            str(prepared / "small.yaml"), f"run.dir={self.run_dir}", f"data.paths=[{prepared / 'corpus.jsonl'}]",
            f"data.dir={prepared / 'data'}", "--cluster", "site.yaml", *overrides,
        ]  # fmt: skip
        self.submit()

    def submit(self) -> None:
        self.spanwright("submit", *self._arguments, "--no-trial")
        self.jobs: dict[str, str] = read_json(self.run_dir / "submission.json")["jobs"]

    def spanwright(self, *arguments: str) -> str:
        done = subprocess.run(
            [*SPANWRIGHT, *arguments], env=self.environment, cwd=self.folder, capture_output=True, text=True,
            check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def field(self, job: str, name: str) -> str:
        """A field of `scontrol show job`; empty when it has no such job."""
        found = re.search(rf"\b{name}=(\S+)", slurm(self.environment, "scontrol", "show", "job", self.jobs[job]))
        return found[1] if found else ""

    def status(self) -> dict[str, Any]:
        [status] = json.loads(self.spanwright("status", str(self.run_dir), "--json"))
        return status

    def is_training(self) -> bool:
        return steps_done(self.run_dir) >= 5

    def soon_again(self) -> None:
        """Slurm waits two minutes before it starts a requeued job: a few seconds do.

        (Within the same second its nodes still take it for the job that was just ended.)
        """
        wait_for(lambda: self.field("train", "Restarts") == "1")
        wait_for(lambda: self.field("train", "JobState") == "PENDING")
        slurm(self.environment, "scontrol", "update", f"JobId={self.jobs['train']}", "StartTime=now+5")

    def wait_for_the_end(self, undisturbed: dict[str, Any]) -> list[str]:
        """Until the run is evaluated, with the undisturbed weights; how its attempts ended."""
        wait_for((self.run_dir / "stages" / "evaluate.json").is_file, seconds=900)
        assert read_json(self.run_dir / "train" / "result.json")["weight_hash"] == undisturbed["weight_hash"]
        assert (self.run_dir / "export" / "hf" / "config.json").is_file()
        return [line["outcome"] for line in read_attempts(self.run_dir / "train") if "outcome" in line]


@pytest.fixture
def site(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[dict[str, str]]:
    """The environment of a user of the cluster, who has a module of their own."""
    modules = tmp_path / "modules"
    modules.mkdir()
    (modules / "weather").write_text("#%Module\nsetenv WEATHER fine\n", encoding="utf-8")
    with slurm_site(tmp_path / "slurm", **getattr(request, "param", {})) as environment:
        yield {**environment, "MODULEPATH": str(modules)}


def urgent_job(environment: dict[str, str]) -> None:
    """Somebody submits to the higher partition, for both nodes."""
    slurm(
        environment, "sbatch", "--partition=urgent", "--nodes=2", "--exclusive", "--output=/dev/null", "--wrap=sleep 1"
    )


def test_a_job_that_a_higher_partition_preempts_saves_requeues_and_ends_with_the_undisturbed_weights(
    site: dict[str, str], prepared: Path, undisturbed: dict[str, Any], tmp_path: Path
) -> None:
    run = SlurmRun(site, prepared, tmp_path)
    assert list(run.jobs) == ["prep", "train", "export"]
    assert run.field("train", "Dependency") == f"afterok:{run.jobs['prep']}(unfulfilled)"
    wait_for(run.is_training, seconds=600)
    with paused(run.run_dir) as rank:
        variables = Path(f"/proc/{rank}/environ").read_bytes().split(b"\0")
        assert {b"GREETING=it's a $HOME", b"WEATHER=fine"} <= set(variables)
        urgent_job(site)
        status = run.status()
        assert (status["stage"], status["jobs"]["train"], status["restarts"]) == ("train", "RUNNING", 0)
        wait_for(lambda: is_told_to_stop(rank))  # USR1, as a preemption sends it
        assert run.field("train", "PreemptTime") != "None"
    run.soon_again()
    assert run.wait_for_the_end(undisturbed) == ["stopped", "done"]
    ends = [line for line in read_attempts(run.run_dir / "train") if "outcome" in line]
    assert 5 <= ends[0]["step"] < STEPS


def is_gone_though_stopped(pid: int) -> bool:
    """Whether a process has ended; until then it is stopped again (before TERM and KILL Slurm lets all go on)."""
    try:
        os.kill(pid, signal.SIGSTOP)
    except ProcessLookupError:
        return True
    return False


@pytest.mark.long
@pytest.mark.parametrize("site", [{"grace_seconds": 5, "kill_seconds": 5}], indirect=True, ids=["impatient"])
def test_a_preempted_job_that_does_not_save_in_time_is_killed_requeued_and_goes_on_from_the_last_checkpoint(
    site: dict[str, str], prepared: Path, undisturbed: dict[str, Any], tmp_path: Path
) -> None:
    run = SlurmRun(site, prepared, tmp_path)
    wait_for(run.is_training, seconds=600)
    with paused(run.run_dir) as rank:
        urgent_job(site)
        wait_for(lambda: is_gone_though_stopped(rank))
    run.soon_again()
    assert run.wait_for_the_end(undisturbed) == ["done"]  # nothing was left to tell how the first attempt ended
    assert run.status()["restarts"] == 1


@pytest.mark.long
def test_a_preemption_that_only_the_tasks_hear_of_requeues_and_a_cancelled_run_saves_and_can_be_submitted_again(
    site: dict[str, str], prepared: Path, undisturbed: dict[str, Any], tmp_path: Path
) -> None:
    run = SlurmRun(site, prepared, tmp_path)
    wait_for(run.is_training, seconds=600)
    with paused(run.run_dir) as rank:
        slurm(site, "scancel", "--signal=TERM", run.jobs["train"])  # as Slurm's default at the start of GraceTime
        wait_for(lambda: is_told_to_stop(rank))
    run.soon_again()
    stopped = steps_done(run.run_dir)
    wait_for(lambda: steps_done(run.run_dir) > stopped, seconds=600)
    with paused(run.run_dir) as rank:
        run.spanwright("cancel", str(run.run_dir))
        wait_for(lambda: is_told_to_stop(rank))
    wait_for(lambda: run.status()["jobs"]["train"] not in ("RUNNING", "COMPLETING"))
    assert run.field("train", "Restarts") == "1"
    status = run.status()
    assert status["checkpoint"] == status["step"] < STEPS
    assert set(status["jobs"].values()) <= {"ENDED", "FAILED", "COMPLETED", "CANCELLED"}
    assert "stopped after step" in run.spanwright("logs", str(run.run_dir))
    run.submit()
    assert run.wait_for_the_end(undisturbed) == ["stopped", "stopped", "done"]


@pytest.mark.long
def test_chained_jobs_continue_one_another_where_requeueing_is_not_allowed(
    site: dict[str, str], prepared: Path, undisturbed: dict[str, Any], tmp_path: Path
) -> None:
    run = SlurmRun(site, prepared, tmp_path, "cluster.requeue=false", "cluster.chain=2")
    assert list(run.jobs) == ["prep", "train-1", "train-2", "export"]
    assert run.field("train-2", "Dependency") == f"afterany:{run.jobs['train-1']}(unfulfilled)"
    wait_for(run.is_training, seconds=600)
    with paused(run.run_dir) as rank:
        slurm(site, "scancel", "--batch", "--signal=USR1", run.jobs["train-1"])
        wait_for(lambda: is_told_to_stop(rank))
    assert run.wait_for_the_end(undisturbed) == ["stopped", "done"]
    assert run.field("train-1", "ExitCode") == "75:0"
    assert "the next job of the chain continues" in run.spanwright("logs", str(run.run_dir))


@pytest.mark.long
def test_a_job_is_given_the_gpus_it_asks_for_and_refuses_to_train_where_they_are_none(
    site: dict[str, str], prepared: Path, tmp_path: Path
) -> None:
    run = SlurmRun(site, prepared, tmp_path, "cluster.gpus_per_node=2", "cluster.ranks_per_node=null")
    assert run.field("train", "TresPerNode") == "gres:gpu:2"
    wait_for(lambda: run.field("train", "JobState") == "FAILED", seconds=600)
    assert run.field("train", "ExitCode") == "2:0"
    assert run.field("train", "Restarts") == "0"
    told = run.spanwright("logs", str(run.run_dir))
    assert "shows 0 GPUs to 2 ranks, and the cluster has gpus_per_node=2" in told
    wait_for(lambda: run.field("export", "JobState") in ("CANCELLED", ""))
