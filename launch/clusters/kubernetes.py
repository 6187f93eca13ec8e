"""Kubernetes: a RayJob for the KubeRay operator. Pure: config in, manifest out.

The operator starts a head (no GPUs) and one worker pod per node, runs the entrypoint, and takes all down again. The
run's config travels in a ConfigMap; token and keys are secrets by name. Fields: KubeRay's ray.io/v1 RayJob.

A pod that is taken away (a drained machine, `spanwright cancel`) first has the training save (preStop); what then stops
early goes on within the same job (launch.ray_cluster). So `backoffLimit`, after which KubeRay counts the job as failed,
is only for jobs that failed or lost their head.
"""

import textwrap
from typing import Any

from data_prep.errors import InputError
from launch.clusters.config import KubernetesCluster
from launch.clusters.load import CLUSTER_FILE, cluster_text
from launch.clusters.submission import SUBMIT_FOLDER, Job, Submission, job_name, plain_path
from pipeline.config import RunConfig
from pipeline.config_files import RUN_CONFIG_NAME, dump_yaml

MANIFEST = f"{SUBMIT_FOLDER}/rayjob.yaml"
CONFIG_FOLDER = "/etc/spanwright"
_GPU = "nvidia.com/gpu"
_END_SECONDS = 30  # Kubernetes' own default, for the pod to end once training has saved


def kubernetes_submission(config: RunConfig, cluster: KubernetesCluster) -> Submission:
    """The ConfigMap and the RayJob in one file, and the kubectl call.

    `create`, not `apply`: of a RayJob that is there already, even one that has ended, that would start nothing.
    """
    plain_path(config.run_dir, "run.dir")
    _check_folders(config, cluster)
    text = f"{_config_map(config, cluster)}---\n{dump_yaml(_ray_job(config, cluster))}"
    command = ("kubectl", "create", f"--namespace={cluster.namespace}", f"--filename={config.run_dir / MANIFEST}")
    return Submission({CLUSTER_FILE: cluster_text(cluster), MANIFEST: text}, (Job("run", command),))


def _check_folders(config: RunConfig, cluster: KubernetesCluster) -> None:
    """InputError for what the pods could not see."""
    mounts = [volume.path.rstrip("/") for volume in cluster.volumes]
    inputs = [("data.paths", path) for path in config.data.paths if path.startswith("/")]
    for what, path in (("run.dir", str(config.run_dir)), ("data.dir", str(config.data_dir)), *inputs):
        if not any(path == mount or path.startswith(f"{mount}/") for mount in mounts):
            raise InputError(
                f"{what}: {path} lies on none of cluster.volumes ({', '.join(mounts)}), and pods share only these"
            )


def _config_map(config: RunConfig, cluster: KubernetesCluster) -> str:
    texts = {
        RUN_CONFIG_NAME: dump_yaml(config.model_dump(mode="json", exclude_none=True)),
        CLUSTER_FILE: cluster_text(cluster),
    }
    head = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": _metadata(config, cluster)}
    blocks = [f"  {name}: |\n{textwrap.indent(text, '    ')}" for name, text in texts.items()]
    return dump_yaml(head) + "data:\n" + "".join(blocks)


def _ray_job(config: RunConfig, cluster: KubernetesCluster) -> dict[str, Any]:
    train = _group(config, cluster, "train", cluster.nodes, cluster.gpus_per_node)
    prep = _group(config, cluster, "prep", cluster.prep_nodes, 0)
    head = _pod(config, cluster, cluster.head_cpus, cluster.head_memory, 0)
    return {
        "apiVersion": "ray.io/v1",
        "kind": "RayJob",
        "metadata": _metadata(config, cluster),
        "spec": {
            "entrypoint": f"spanwright run {CONFIG_FOLDER}/{RUN_CONFIG_NAME} --within {CONFIG_FOLDER}/{CLUSTER_FILE}",
            "backoffLimit": cluster.retries,
            "shutdownAfterJobFinishes": True,
            "ttlSecondsAfterFinished": cluster.ttl_seconds,
            "rayClusterSpec": {
                "authOptions": {"mode": "token", "secretName": cluster.token_secret},
                "headGroupSpec": {"rayStartParams": {"num-gpus": "0"}, "template": head},
                "workerGroupSpecs": [train, *([prep] if cluster.prep_nodes else [])],
            },
        },
    }


def _group(config: RunConfig, cluster: KubernetesCluster, name: str, count: int, gpus: int) -> dict[str, Any]:
    # A node of the placement group asks for one of these: actors never land on the nodes of preparation.
    resources = {"resources": '"{\\"spanwright_train\\": 1}"'} if name == "train" else {}
    return {
        "groupName": name,
        "replicas": count,
        "minReplicas": count,
        "maxReplicas": count,
        "rayStartParams": resources,
        "template": _pod(config, cluster, cluster.cpus_per_node, cluster.memory_per_node, gpus),
    }


def _pod(config: RunConfig, cluster: KubernetesCluster, cpus: int, memory: str, gpus: int) -> dict[str, Any]:
    amounts = {"cpu": str(cpus), "memory": memory, **({_GPU: str(gpus)} if gpus else {})}
    mounts = [{"name": f"volume-{n}", "mountPath": volume.path} for n, volume in enumerate(cluster.volumes)]
    volumes = [
        {"name": f"volume-{n}", "persistentVolumeClaim": {"claimName": volume.claim}}
        for n, volume in enumerate(cluster.volumes)
    ]
    container = {
        "name": "ray",
        "image": cluster.image,
        "resources": {"limits": amounts, "requests": dict(amounts)},
        "env": _environment(cluster),
        "lifecycle": {"preStop": {"exec": {"command": _leave(config, cluster)}}},
        "volumeMounts": [
            *mounts,
            {"name": "config", "mountPath": CONFIG_FOLDER, "readOnly": True},
            {"name": "shared-memory", "mountPath": "/dev/shm"},
        ],
    }
    spec: dict[str, Any] = {
        "containers": [container],
        "volumes": [
            *volumes,
            {"name": "config", "configMap": {"name": job_name(config)}},
            {"name": "shared-memory", "emptyDir": {"medium": "Memory", "sizeLimit": cluster.shared_memory}},
        ],
        "terminationGracePeriodSeconds": cluster.save_seconds + _END_SECONDS,
    }
    if cluster.node_selector:
        spec["nodeSelector"] = dict(cluster.node_selector)
    if cluster.service_account:
        spec["serviceAccountName"] = cluster.service_account
    return {"spec": spec}


def _leave(config: RunConfig, cluster: KubernetesCluster) -> list[str]:
    return ["python", "-m", "launch.nodes.leave", str(config.run_dir), str(cluster.save_seconds)]


def _environment(cluster: KubernetesCluster) -> list[dict[str, Any]]:
    plain = [{"name": name, "value": value} for name, value in sorted(cluster.environment.items())]
    secret = [
        {"name": name, "valueFrom": {"secretKeyRef": dict(zip(("name", "key"), where.split("/"), strict=True))}}
        for name, where in sorted(cluster.secrets.items())
    ]
    return plain + secret


def _metadata(config: RunConfig, cluster: KubernetesCluster) -> dict[str, str]:
    return {"name": job_name(config), "namespace": cluster.namespace}
