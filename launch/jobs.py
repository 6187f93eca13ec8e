"""Jobs that were submitted: what their scheduler says of them, and how to cancel them."""

import os
import re
import signal
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from data_prep.errors import InputError, SpanwrightError
from launch.clusters.kubernetes import MANIFEST
from launch.clusters.submission import program
from launch.nodes.board import Board
from launch.submit import process_id, read_record

Record = dict[str, Any]
_TIMEOUT_SECONDS = 60
_JOB_ID = re.compile(r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")


def job_states(run_dir: Path) -> dict[str, str]:
    """The state of each submitted job, as its scheduler names it; empty when nothing was submitted."""
    record = read_record(run_dir)
    return _STATES[record["kind"]](record, _ids(record)) if record and record["jobs"] else {}


def cancel_jobs(run_dir: Path) -> list[str]:
    """Cancel what was submitted; the names of the jobs. A training that runs is told to save first."""
    record = read_record(run_dir)
    if record is None:
        raise InputError(f"{run_dir}: nothing was submitted from here; stop a run of yours with Ctrl-C")
    _CANCEL[record["kind"]](run_dir, record, _ids(record))
    return list(record["jobs"])


def _ids(record: Record) -> dict[str, str]:
    wrong = [job for job in record["jobs"].values() if not _JOB_ID.match(job)]
    if wrong:
        raise InputError(f"submission.json: {wrong[0]!r} is not the id of a job")
    return record["jobs"]


def _local_states(record: Record, ids: dict[str, str]) -> dict[str, str]:
    return {name: "RUNNING" if _is_alive(job) else "ENDED" for name, job in ids.items()}


def _cancel_local(run_dir: Path, record: Record, ids: dict[str, str]) -> None:
    for job in ids.values():
        if _is_alive(job):
            os.kill(int(job.partition("-")[0]), signal.SIGTERM)


def _is_alive(job: str) -> bool:
    try:
        return process_id(int(job.partition("-")[0])) == job
    except (FileNotFoundError, ProcessLookupError):
        return False


def _slurm_states(record: Record, ids: dict[str, str]) -> dict[str, str]:
    known = _ask(["squeue", "--noheader", "--format=%i %T", f"--jobs={','.join(ids.values())}"], missing="")
    states = dict(line.split(maxsplit=1) for line in known.splitlines() if line.strip())
    return {name: states.get(job, "ENDED") for name, job in ids.items()}


def _cancel_slurm(run_dir: Path, record: Record, ids: dict[str, str]) -> None:
    """A training that runs gets TERM alone, and the time it needs: a plain scancel is followed by a kill (KillWait)."""
    states = _slurm_states(record, ids)
    saving = [job for name, job in ids.items() if name.startswith("train") and states[name] == "RUNNING"]
    others = [job for name, job in ids.items() if job not in saving and states[name] != "ENDED"]
    if others:
        _ask(["scancel", *others])
    if saving:
        _ask(["scancel", "--batch", "--signal=TERM", *saving])


def _ray_states(record: Record, ids: dict[str, str]) -> dict[str, str]:
    return {name: _ray_state(_ask([*_ray("status", record), job])) for name, job in ids.items()}


def _ray_state(text: str) -> str:
    found = re.search(r"\b(PENDING|RUNNING|STOPPED|SUCCEEDED|FAILED)\b", text, re.IGNORECASE)
    return found[1].upper() if found else "UNKNOWN"


def _cancel_ray(run_dir: Path, record: Record, ids: dict[str, str]) -> None:
    """A training that runs is asked through the run folder: Ray kills a job three seconds after it told it to stop."""
    board = Board(run_dir / "train")
    attempt = board.attempt()
    if attempt is not None and attempt.state == "running" and "RUNNING" in _ray_states(record, ids).values():
        board.ask_to_stop()
        return
    for job in ids.values():
        _ask([*_ray("stop", record), "--no-wait", job])


def _ray(verb: str, record: Record) -> tuple[str, ...]:
    return (program("ray"), "job", verb, "--address", record["address"])


def _kubernetes_states(record: Record, ids: dict[str, str]) -> dict[str, str]:
    return {name: _rayjob_state(record, job) for name, job in ids.items()}


def _rayjob_state(record: Record, job: str) -> str:
    """As KubeRay names it; NEW before KubeRay has seen it, ENDED when it is not there any more."""
    wanted = "--output=jsonpath={.metadata.name} {.status.jobDeploymentStatus}"
    _, *state = _ask([*_kubectl("get", record), "rayjob", job, "--ignore-not-found", wanted]).split() or [
        "",
        "ENDED",
    ]
    return state[0] if state else "NEW"


def _cancel_kubernetes(run_dir: Path, record: Record, ids: dict[str, str]) -> None:
    """What was created: RayJob and ConfigMap. Pods let training save before they end."""
    manifest = f"--filename={run_dir.resolve() / MANIFEST}"
    _ask([*_kubectl("delete", record), manifest, "--ignore-not-found", "--wait=false"])


def _kubectl(verb: str, record: Record) -> tuple[str, ...]:
    return ("kubectl", verb, f"--namespace={record['namespace']}")


def _ask(command: Sequence[str], missing: str | None = None) -> str:
    """What `command` prints; `missing` when it fails, where that is an answer too."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_TIMEOUT_SECONDS)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise SpanwrightError(f"{Path(command[0]).name}: {error}") from None
    if done.returncode != 0:
        if missing is not None:
            return missing
        raise SpanwrightError(f"{Path(command[0]).name} failed: {done.stderr.strip()[-1000:]}")
    return done.stdout


_STATES: dict[str, Callable[[Record, dict[str, str]], dict[str, str]]] = {
    "local": _local_states,
    "slurm": _slurm_states,
    "ray": _ray_states,
    "kubernetes": _kubernetes_states,
}
_CANCEL: dict[str, Callable[[Path, Record, dict[str, str]], None]] = {
    "local": _cancel_local,
    "slurm": _cancel_slurm,
    "ray": _cancel_ray,
    "kubernetes": _cancel_kubernetes,
}
