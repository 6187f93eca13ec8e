"""Before anything is submitted: what the cluster, or this machine on its behalf, could not do. Every problem is named.

1. tools, folders, environments, data paths (object stores are asked)
2. the cluster itself: Slurm tests the scripts, Ray must want a token and take ours
3. one step and one save on one rank, where the data is prepared already
"""

import glob
import os
import shutil
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from data_prep.errors import InputError, SpanwrightError
from launch.clusters.config import AnyCluster, RayCluster, SlurmCluster
from launch.stage_actions import existing_dataset
from launch.terminal import detail
from pipeline.config import RunConfig, save_config

_TOOLS = {"slurm": "sbatch", "kubernetes": "kubectl"}
_TIMEOUT_SECONDS = 10.0


def preflight(config: RunConfig, cluster: AnyCluster, trial: bool) -> None:
    """InputError listing everything that would fail; with `trial`, a step is tried last."""
    problems = [*_tools(cluster), *_folders(config, cluster), *_data(config, cluster), *_ray(cluster)]
    if problems:
        raise InputError("\n".join(problems))
    if trial and cluster.kind != "kubernetes":
        try_one_step(config)


def token_problem(address: str, insecure: bool) -> str | None:
    """What is wrong between us and the Ray cluster at `address`: unreachable, no token, a wrong one; else None."""
    token = ray_token()
    try:
        if not insecure and _answer(address, None) == 200:
            return (
                f"cluster.address: {address} takes jobs from anybody: start Ray with RAY_AUTH_MODE=token, or accept "
                "that with cluster.insecure=true"
            )
        if not insecure and token is None:
            return "no Ray token: set RAY_AUTH_TOKEN, or put the token of the cluster's nodes into ~/.ray/auth_token"
        if _answer(address, token) in (401, 403):
            return f"cluster.address: {address} refuses our Ray token (RAY_AUTH_TOKEN or ~/.ray/auth_token)"
    except OSError as error:
        return f"cluster.address: {address} cannot be reached: {getattr(error, 'reason', error)}"
    return None


def ray_token() -> str | None:
    """The token as Ray finds it: the variable, the file it names, the file in the home folder."""
    if token := os.environ.get("RAY_AUTH_TOKEN"):
        return token
    path = Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or Path.home() / ".ray" / "auth_token")
    return path.read_text(encoding="utf-8").strip() or None if path.is_file() else None


def try_one_step(config: RunConfig) -> None:
    """Import, tokenizer, dataset, one step and one save of this config on one rank, in RUN/preflight.

    SpanwrightError when it fails; skipped, saying so, while there is no dataset.
    """
    if existing_dataset(config) is None:
        detail("trial step: left out, the data is not prepared yet")
        return
    from launch.local import launch_local

    folder = config.run_dir / "preflight"
    trial = trial_of(config, folder)
    shutil.rmtree(folder, ignore_errors=True)
    try:
        save_config(trial)
        detail("trial step on one rank")
        if launch_local(folder, 1, config.training.threads_per_rank) != 0:
            raise SpanwrightError("the trial step failed (its message is above): nothing was submitted")
        if not (folder / "train" / "checkpoints" / "step-00000001").is_dir():
            raise SpanwrightError("the trial step saved no checkpoint: nothing was submitted")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def trial_of(config: RunConfig, folder: Path) -> RunConfig:
    """One step of this config on one rank, in `folder`: nothing in it waits for a later step."""
    groups = {
        name: group.model_copy(update={"frozen_steps": 0, "schedule": None})
        for name, group in config.training.groups.items()
    }
    training = config.training.model_copy(
        update={
            "steps": 1, "ranks": 1, "global_batch": config.training.micro_batch, "heldout_samples": 0,
            "schedule": type(config.training.schedule)(), "random_ltd": None, "groups": groups,
        }
    )  # fmt: skip
    return config.model_copy(
        update={
            "training": training,
            "phases": (),  # one step sees none
            "run": config.run.model_copy(update={"dir": str(folder)}),
            "data": config.data.model_copy(update={"dir": str(config.data_dir)}),
            "checkpoint": type(config.checkpoint)(),
        }
    )


def _tools(cluster: AnyCluster) -> Iterator[str]:
    tool = _TOOLS.get(cluster.kind)
    if tool and shutil.which(tool) is None:
        yield f"cluster.kind is {cluster.kind} and this machine has no {tool} (--dry-run shows what would be submitted)"
    if isinstance(cluster, SlurmCluster):
        if cluster.container and not Path(cluster.container).is_file():
            yield f"cluster.container: {cluster.container}: no such file"
        if cluster.venv and not (Path(cluster.venv) / "bin" / "spanwright").is_file():
            yield f"cluster.venv: {cluster.venv}/bin/spanwright: no such file"


def _folders(config: RunConfig, cluster: AnyCluster) -> Iterator[str]:
    if cluster.kind == "kubernetes":
        return
    parent = next(folder for folder in (config.run_dir, *config.run_dir.parents) if folder.exists())
    if not parent.is_dir():
        yield f"run.dir: {parent}: a file is in the way of this folder"
    elif not os.access(parent, os.W_OK):
        yield f"run.dir: {parent}: no permission to write"


def _data(config: RunConfig, cluster: AnyCluster) -> Iterator[str]:
    if not config.data.paths and existing_dataset(config) is None:
        yield f"data.paths is empty and {config.data_dir} holds no dataset"
    for path in config.data.paths:
        if "://" in path:
            yield from _remote(path)
        elif not path.startswith("python:") and cluster.kind != "kubernetes" and not glob.glob(path):
            yield f"data.paths: {path}: no such file or folder"


def _remote(path: str) -> Iterator[str]:
    from data_prep.sources.storage import listed

    try:
        listed(path)
    except SpanwrightError as error:
        yield str(error)


def _ray(cluster: AnyCluster) -> Iterator[str]:
    if isinstance(cluster, RayCluster) and (problem := token_problem(cluster.address, cluster.insecure)):
        yield problem


def _answer(address: str, token: str | None) -> int:
    """The status code of the cluster's list of jobs."""
    request = urllib.request.Request(f"{address.rstrip('/')}/api/jobs/")
    if token:
        request.add_header("Authorization", f"Bearer {token}")
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code
