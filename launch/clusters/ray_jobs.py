"""A running Ray cluster: one Ray job that runs all stages. Pure: config in, texts out.

Ray's token comes from the environment of whoever submits, and on the nodes from theirs; it is in no text.
"""

import json

from launch.clusters.config import RayCluster
from launch.clusters.load import CLUSTER_FILE, cluster_text
from launch.clusters.submission import Job, Submission, plain_path, program
from pipeline.config import RunConfig


def ray_submission(config: RunConfig, cluster: RayCluster) -> Submission:
    """The `ray job submit` call; what runs is `spanwright run` on the run folder, which the nodes share."""
    folder = plain_path(config.run_dir, "run.dir")
    entrypoint = [cluster.program or program(), "run", folder, "--within", f"{folder}/{CLUSTER_FILE}"]
    environment = ["--runtime-env-json", json.dumps({"env_vars": cluster.environment}, sort_keys=True)]
    options = [*(environment if cluster.environment else []), "--no-wait"]
    return Submission(
        {CLUSTER_FILE: cluster_text(cluster)},
        (Job("run", (*ray_job("submit", cluster), *options, "--", *entrypoint)),),
    )


def ray_job(verb: str, cluster: RayCluster) -> tuple[str, ...]:
    """The words that call Ray's own command line on that cluster's jobs."""
    return (program("ray"), "job", verb, "--address", cluster.address)
