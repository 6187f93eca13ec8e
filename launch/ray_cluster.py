"""Run stages inside a Ray cluster. Ray's second home (the first is data_prep/driver.py).

1. `connect`: the job joins its cluster, which must want a token; preparation's tasks then run on all nodes
2. `train_on_ray`: one actor per node, spread by a placement group; each runs a node of launch.nodes as a process
3. a follower that dies is started again where its place comes back; when the leader's node dies, all start anew, with
   `elastic` on the nodes that are left
4. `run_on_ray`: export and evaluation as tasks with one training node's share
"""

import contextlib
import logging
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from data_prep.errors import InputError, SpanwrightError, StoppedEarlyError
from launch.clusters.config import KubernetesCluster, RayCluster
from launch.nodes.board import Board
from launch.nodes.stop import StopSignals
from launch.stages import STAGES, Result
from launch.terminal import detail
from pipeline.config import RunConfig, load_run

TRAIN_RESOURCE = "spanwright_train"
_POLL_SECONDS = 1.0
_PAUSE_SECONDS = 2.0

AnyRayCluster = RayCluster | KubernetesCluster


def connect(config: RunConfig, cluster: AnyRayCluster) -> RunConfig:
    """Join the cluster that this process is a job of; the run with as many preparation workers as it has cores."""
    insecure = isinstance(cluster, RayCluster) and cluster.insecure
    if os.environ.get("RAY_AUTH_MODE") != "token":
        if not insecure:
            raise InputError(
                "this Ray cluster runs without token authentication: start its nodes with RAY_AUTH_MODE=token, or "
                "accept that with cluster.insecure=true"
            )
        os.environ["RAY_AUTH_MODE"] = "disabled"
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    home = Path.home() / ".ray" / "auth_token"
    if "RAY_AUTH_TOKEN" not in os.environ and home.is_file():  # preparation would make a token of its own
        os.environ.setdefault("RAY_AUTH_TOKEN_PATH", str(home))
    import ray

    try:
        ray.init(address="auto", log_to_driver=True, logging_level=logging.ERROR)
    except Exception as error:
        raise SpanwrightError(f"not in a Ray cluster, or it refused us: {error}") from None
    workers = config.data.workers or max(1, int(ray.cluster_resources().get("CPU", 1)))
    return config.model_copy(update={"data": config.data.model_copy(update={"workers": workers})})


def train_on_ray(config: RunConfig, cluster: AnyRayCluster, cluster_file: Path) -> int:
    """Train `config` on the cluster's nodes; the exit code of its leader.

    On Kubernetes a training that saved and stopped early (a pod is taken away, `training.stop_after`) goes on at once:
    KubeRay would count the job's exit code 75 as a failure, and start only so many new clusters.
    """
    Board(config.train_dir).forget_stop()
    lost = 0
    with StopSignals() as stop:
        while True:
            with _nodes(config, cluster, cluster_file, first=not lost) as actors:
                code = _until_done(config, actors, stop)
            if code == StoppedEarlyError.exit_code and isinstance(cluster, KubernetesCluster) and not stop.asked:
                detail("training saved and stopped early; it goes on")
                continue
            if code is not None:
                return code
            lost += 1
            if lost > cluster.supervise.restarts:
                raise SpanwrightError(f"the leading node was lost {lost} times; the same command continues")
            detail("the leading node was lost; starting again")


def run_on_ray(config: RunConfig, cluster: AnyRayCluster, name: str) -> Result:
    """Carry stage `name` out as a task with what a training node has, but one GPU at most; its result.

    When its node dies Ray starts it again on another one: what a stage wrote is replaced.
    """
    import ray

    asked = {**_bundle(cluster), **({"GPU": 1.0} if cluster.gpus_per_node else {})}
    cpus, gpus = asked.pop("CPU"), asked.pop("GPU", 0.0)
    task = ray.remote(_stage).options(
        name=name, num_cpus=cpus, num_gpus=gpus, resources=asked, max_retries=cluster.supervise.restarts
    )
    try:
        outcome = ray.get(task.remote(str(config.run_dir), name))
    except ray.exceptions.RayError as error:
        raise SpanwrightError(f"the task of {name} failed: {error}") from None
    if isinstance(outcome, SpanwrightError):
        raise outcome
    return outcome


def _stage(run_dir: str, name: str) -> Result | SpanwrightError:
    """A task: a stage of the run. Its error is handed back as it is, without Ray's wrapping."""
    try:
        return STAGES[name].action(load_run(Path(run_dir)))
    except SpanwrightError as error:
        return error


@contextlib.contextmanager
def _nodes(config: RunConfig, cluster: AnyRayCluster, cluster_file: Path, first: bool) -> Iterator[list[Any]]:
    """An actor per node, the leader's first: on the driver's node if it has one, since nothing goes on without that."""
    import ray
    from ray.util.placement_group import placement_group_table, remove_placement_group
    from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

    group, nodes = _reserve(config, cluster, first)
    try:
        places = placement_group_table(group)["bundles_to_node_id"]
        ours = ray.get_runtime_context().get_node_id()
        bundles = sorted(range(nodes), key=lambda bundle: places[bundle] != ours)
        yield [
            ray.remote(_Node)
            .options(
                num_cpus=cluster.cpus_per_node,
                num_gpus=cluster.gpus_per_node,
                max_restarts=-1 if index else 0,
                max_task_retries=-1 if index else 0,
                scheduling_strategy=PlacementGroupSchedulingStrategy(group, placement_group_bundle_index=bundle),
            )
            .remote(str(config.run_dir), str(cluster_file), index, nodes)
            for index, bundle in enumerate(bundles)
        ]
    finally:
        remove_placement_group(group)  # its actors end with it


def _reserve(config: RunConfig, cluster: AnyRayCluster, first: bool) -> tuple[Any, int]:
    """A placement group with a place on each of so many nodes: all, or with `elastic` as many as are there in time."""
    from ray.util.placement_group import placement_group, remove_placement_group

    limits, nodes = cluster.supervise, cluster.nodes
    patience = limits.start_seconds if first or not limits.elastic else 2 * limits.node_seconds
    while True:
        group = placement_group([_bundle(cluster)] * nodes, strategy="STRICT_SPREAD")
        if group.wait(patience):
            return group, nodes
        remove_placement_group(group)
        fewer = _fewer(config, cluster, nodes) if limits.elastic else 0
        if not fewer:
            raise SpanwrightError(
                f"{nodes} nodes with {_bundle(cluster)} each were not free within {patience:.0f} s (`ray status` shows "
                "what is); the same command continues"
            )
        nodes = fewer
        detail(f"going on with {nodes} of {cluster.nodes} nodes")


def _fewer(config: RunConfig, cluster: AnyRayCluster, nodes: int) -> int:
    """The largest number below `nodes` whose ranks can share the global batch; 0 if none can."""
    for count in range(nodes - 1, 0, -1):
        with contextlib.suppress(InputError):
            config.check_ranks(count * cluster.ranks_on_node)
            return count
    return 0


def _bundle(cluster: AnyRayCluster) -> dict[str, float]:
    gpus = {"GPU": float(cluster.gpus_per_node)} if cluster.gpus_per_node else {}
    own = {TRAIN_RESOURCE: 1.0} if isinstance(cluster, KubernetesCluster) else {}
    return {"CPU": float(cluster.cpus_per_node), **gpus, **own}


class _Node:
    """An actor: the process of one node, which ends with it."""

    def __init__(self, run_dir: str, cluster_file: str, index: int, nodes: int) -> None:
        self._command = [sys.executable, "-m", "launch.nodes", run_dir, cluster_file, str(index), str(nodes)]

    def run(self) -> int:
        """Take part until the leader has finished; the exit code."""
        environment = {**os.environ, "SPANWRIGHT_PARENT": str(os.getpid())}
        return subprocess.run(self._command, env=environment, check=False).returncode


def _until_done(config: RunConfig, actors: list[Any], stop: StopSignals) -> int | None:
    """The leader's exit code; None when its node died."""
    import ray

    running = {actor.run.remote(): index for index, actor in enumerate(actors)}
    told = False
    while True:
        if stop.asked and not told:
            Board(config.train_dir).ask_to_stop()
            told = True
        done, _ = ray.wait(list(running), num_returns=1, timeout=_POLL_SECONDS)
        for reference in done:
            index = running.pop(reference)
            try:
                code = ray.get(reference)
            except ray.exceptions.RayActorError:
                code = None
            if index == 0:
                return code
            time.sleep(_PAUSE_SECONDS)  # a follower whose leader fell silent, or that could not start
            running[actors[index].run.remote()] = index
