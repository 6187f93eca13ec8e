"""Run stages from within a cluster: what submitted jobs call (`--within CLUSTER`).

Node 0 runs the stages and leads the training; every other node follows it.
"""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from data_prep.errors import SpanwrightError
from launch.clusters.config import AnyCluster, KubernetesCluster, RayCluster
from launch.clusters.load import fitted, load_cluster
from launch.nodes.follow import follow
from launch.nodes.lead import lead
from launch.ray_cluster import connect, run_on_ray, train_on_ray
from launch.stage_actions import train
from launch.stages import Action, ConfirmFresh, run_stages
from launch.start import Start
from pipeline.config import RunConfig

_NODE_VARIABLE = "SLURM_NODEID"


def run_within(
    config: RunConfig,
    stages: Sequence[str],
    cluster_name: str,
    node: int | None,
    confirm_fresh: ConfirmFresh | None,
    start: Start,
) -> None:
    """Run `stages` as node `node` of the cluster (None: Slurm's number, else 0). A follower leaves with its code."""
    cluster = load_cluster(cluster_name)
    config = fitted(config, cluster)
    index = _node_index(cluster) if node is None else node
    if isinstance(cluster, RayCluster | KubernetesCluster):
        places = _on_ray(cluster, Path(cluster_name).resolve())
        run_stages(connect(config, cluster), stages, confirm_fresh, places, start)
        return
    if index == 0:
        run_stages(
            config, stages, confirm_fresh, {"train": lambda run: train(run, lambda one: lead(one, cluster))}, start
        )
        return
    code = follow(config, cluster, index)
    if code:
        print(f"node {index}: the training ended with exit code {code}", file=sys.stderr)
        sys.exit(code)


def _on_ray(cluster: RayCluster | KubernetesCluster, file: Path) -> dict[str, Action]:
    """Where stages run when this process drives a Ray job: training in actors, export and evaluation in tasks.

    Preparation makes tasks of its own.
    """
    return {
        "train": lambda run: train(run, lambda one: train_on_ray(one, cluster, file)),
        "export": lambda run: run_on_ray(run, cluster, "export"),
        "evaluate": lambda run: run_on_ray(run, cluster, "evaluate"),
    }


def _node_index(cluster: AnyCluster) -> int:
    text = os.environ.get(_NODE_VARIABLE, "0") if cluster.kind == "slurm" else "0"
    if not text.isdigit():
        raise SpanwrightError(f"{_NODE_VARIABLE}={text!r} is not the number of a node")
    return int(text)
