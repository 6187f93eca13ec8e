"""From a run and a cluster to what would be submitted: one function per kind of cluster."""

from collections.abc import Callable
from typing import Any

from launch.clusters.config import AnyCluster
from launch.clusters.hosts import hostfile_submission, local_submission
from launch.clusters.kubernetes import kubernetes_submission
from launch.clusters.ray_jobs import ray_submission
from launch.clusters.slurm import slurm_submission
from launch.clusters.submission import Submission
from pipeline.config import RunConfig

_TARGETS: dict[str, Callable[[RunConfig, Any], Submission]] = {
    "local": local_submission,
    "hostfile": hostfile_submission,
    "slurm": slurm_submission,
    "ray": ray_submission,
    "kubernetes": kubernetes_submission,
}


def submission_of(config: RunConfig, cluster: AnyCluster) -> Submission:
    """Everything that submitting `config` to `cluster` would write and call. Contacts nothing."""
    return _TARGETS[cluster.kind](config, cluster)
