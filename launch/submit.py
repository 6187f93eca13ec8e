"""`spanwright submit`: write what is submitted into the run folder, call the scheduler, remember the jobs' ids.

RUN/submission.json: kind, address or namespace, and the id of each job. `status`, `logs` and `cancel` start from it.
"""

import json
import os
import re
import shlex
import subprocess
import time
from pathlib import Path
from typing import Any

from data_prep.errors import InputError, SpanwrightError
from data_prep.shards.files import named_errors, publish, staged_bytes
from launch.clusters.config import AnyCluster, KubernetesCluster, LocalCluster, RayCluster
from launch.clusters.preflight import preflight
from launch.clusters.submission import Job, Submission, filled_in, job_name
from launch.clusters.targets import submission_of
from launch.start import Start
from launch.terminal import console, detail, heading
from pipeline.config import RunConfig, save_config

RECORD = "submission.json"
LOGS = "logs"
_ID_IN_OUTPUT = {"slurm": r"^(\d+)", "ray": r"(raysubmit_[A-Za-z0-9]+)"}


def show(config: RunConfig, cluster: AnyCluster) -> None:
    """Print exactly what would be submitted. Contacts and writes nothing."""
    console.print(submission_of(config, cluster).describe(config.run_dir), markup=False, soft_wrap=True)


def submit(config: RunConfig, cluster: AnyCluster, trial: bool = True, start: Start | None = None) -> None:
    """Submit the run. InputError for what the cluster cannot do, before anything is submitted.

    `start` says whether its jobs may go on with other data.
    """
    submission = submission_of(config, cluster)
    heading("submit", f"{config.run_dir.name} to {cluster.kind}")
    preflight(config, cluster, trial)
    _write(config, submission)
    (start or Start()).apply(config)
    if cluster.kind == "slurm":
        _try_scripts(config, submission)
    ids: dict[str, str] = {}
    try:
        for job in submission.jobs:
            ids[job.name] = (
                _start_here(config, job) if isinstance(cluster, LocalCluster) else _call(config, cluster, job, ids)
            )
            detail(f"{job.name}: {ids[job.name]}")
    finally:
        _remember(config, cluster, ids)
    for note in submission.notes:
        console.print(note, markup=False, soft_wrap=True)
    if ids:
        detail(f"spanwright status {shlex.quote(os.path.relpath(config.run_dir))}   (also: logs, cancel)")


def read_record(run_dir: Path) -> dict[str, Any] | None:
    """What was submitted; None when nothing was."""
    try:
        return json.loads((run_dir / RECORD).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None


def process_id(pid: int) -> str:
    """A process as PID-START, START in clock ticks since boot: a number that is used again is another process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return f"{pid}-{fields[19]}"


def _write(config: RunConfig, submission: Submission) -> None:
    save_config(config)
    with named_errors(config.run_dir, "write"):
        (config.run_dir / LOGS).mkdir(exist_ok=True)
        for name in submission.files:
            (config.run_dir / name).parent.mkdir(parents=True, exist_ok=True)
    publish([staged_bytes(config.run_dir / name, text.encode()) for name, text in submission.files.items()])


def _try_scripts(config: RunConfig, submission: Submission) -> None:
    """Have Slurm test every script, so that it does not take some of the jobs and refuse the rest."""
    for name in submission.files:
        if name.endswith(".sbatch"):
            command = ["sbatch", "--test-only", str(config.run_dir / name)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode != 0:
                raise InputError(f"Slurm would not take {name}: {done.stderr.strip()[-1000:]}; nothing was submitted")


def _remember(config: RunConfig, cluster: AnyCluster, ids: dict[str, str]) -> None:
    record: dict[str, Any] = {"kind": cluster.kind, "submitted": time.strftime("%Y-%m-%dT%H:%M:%S%z"), "jobs": ids}
    if isinstance(cluster, RayCluster):
        record["address"] = cluster.address
    if isinstance(cluster, KubernetesCluster):
        record["namespace"] = cluster.namespace
    publish([staged_bytes(config.run_dir / RECORD, (json.dumps(record, indent=1) + "\n").encode())])


def _start_here(config: RunConfig, job: Job) -> str:
    """The job as a process of this machine that outlives this one."""
    with open(config.run_dir / LOGS / f"{job.name}.log", "ab") as log:
        process = subprocess.Popen(
            job.command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
    return process_id(process.pid)


def _call(config: RunConfig, cluster: AnyCluster, job: Job, ids: dict[str, str]) -> str:
    """Run the job's command; the id that it printed."""
    command = filled_in(job.command, ids)
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise InputError(f"{command[0]}: no such program on this machine") from None
    if done.returncode != 0:
        told = (done.stderr.strip() or done.stdout.strip())[-2000:]
        raise SpanwrightError(f"{cluster.kind} did not take the job {job.name}: {told}")
    pattern = _ID_IN_OUTPUT.get(cluster.kind)
    if pattern is None:
        return job_name(config)
    found = re.search(pattern, done.stdout, re.MULTILINE)
    if found is None:
        raise SpanwrightError(f"{command[0]} gave no job id for {job.name}: {done.stdout[-500:]!r}")
    return found[1]
