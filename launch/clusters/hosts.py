"""This machine, and machines one can log in to: commands, and nothing contacted. Pure: config in, texts out."""

import shlex
from collections.abc import Mapping

from launch.clusters.config import HostfileCluster, LocalCluster
from launch.clusters.load import CLUSTER_FILE, cluster_text
from launch.clusters.submission import SUBMIT_FOLDER, Job, Submission, plain_path, program
from pipeline.config import RunConfig

HOSTFILE = f"{SUBMIT_FOLDER}/hostfile"


def local_submission(config: RunConfig, cluster: LocalCluster) -> Submission:
    """All stages in one process in the background of this machine."""
    command = (program(), "run", str(config.run_dir), "--within", _cluster_file(config))
    return Submission({CLUSTER_FILE: cluster_text(cluster)}, (Job("run", command),))


def hostfile_submission(config: RunConfig, cluster: HostfileCluster) -> Submission:
    """What to paste on each host: ours (supervised), or training alone in torchrun's or DeepSpeed's form."""
    slots = "".join(f"{host} slots={cluster.ranks_on_node}\n" for host in cluster.hosts)
    sections = [
        ("Paste one line on each host, in any order; the first host prepares, leads and exports:", _ours),
        ("Or, once the data is prepared, train with torchrun:", _torchrun),
        (
            "Or with DeepSpeed's launcher, without ssh (it restarts nothing: repeat the lines after a failure):",
            _deepspeed,
        ),
    ]
    notes = [
        "\n".join(
            [f"# {title}", *(f"{host}$ {line(config, cluster, number)}" for number, host in enumerate(cluster.hosts))]
        )
        for title, line in sections
    ]
    return Submission({CLUSTER_FILE: cluster_text(cluster), HOSTFILE: slots}, (), tuple(notes))


def _ours(config: RunConfig, cluster: HostfileCluster, node: int) -> str:
    command = "run" if node == 0 else "train"
    words = [program(), command, plain_path(config.run_dir, "run.dir")]
    return shlex.join([*words, "--within", _cluster_file(config), "--node", str(node)])


def _torchrun(config: RunConfig, cluster: HostfileCluster, node: int) -> str:
    nodes = f"1:{cluster.nodes}" if cluster.supervise.elastic else str(cluster.nodes)
    options = [
        f"--nnodes={nodes}",
        f"--nproc-per-node={cluster.ranks_on_node}",
        f"--max-restarts={cluster.supervise.restarts}",
        "--rdzv-backend=c10d",
        f"--rdzv-endpoint={cluster.hosts[0]}:{cluster.port}",
        f"--rdzv-id={config.run_dir.name}",
        f"--rdzv-conf=is_host={int(node == 0)}",  # by itself torchrun looks for the endpoint among a machine's names
        f"--local-addr={cluster.hosts[node]}",
    ]
    # Shared with the rendezvous, the ranks' store would still hold the addresses of those before a restart.
    fresh_store = {"TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}
    return shlex.join([*_environment(cluster, fresh_store), program("torchrun"), *options, "-m", *_training(config)])


def _deepspeed(config: RunConfig, cluster: HostfileCluster, node: int) -> str:
    options = [
        f"--hostfile={plain_path(config.run_dir, 'run.dir')}/{HOSTFILE}",
        "--no_ssh",
        "--no_local_rank",
        f"--node_rank={node}",
        f"--master_addr={cluster.hosts[0]}",
        f"--master_port={cluster.port}",
        "--module",
    ]
    return shlex.join([*_environment(cluster), program("deepspeed"), *options, *_training(config)])


def _training(config: RunConfig) -> list[str]:
    return ["pipeline.training", plain_path(config.run_dir, "run.dir")]


def _environment(cluster: HostfileCluster, more: Mapping[str, str] = {}) -> list[str]:
    """What our own supervisor would tell ranks or watch over."""
    told = {
        "GLOO_SOCKET_IFNAME": cluster.interface,
        "NCCL_SOCKET_IFNAME": cluster.interface,
        "SPANWRIGHT_GPUS": cluster.gpus_per_node,
        "SPANWRIGHT_HANG_SECONDS": cluster.supervise.hang_seconds,
    }
    variables = {**{name: str(value) for name, value in told.items() if value}, **more, **cluster.environment}
    return ["env", *(f"{name}={value}" for name, value in sorted(variables.items()))] if variables else []


def _cluster_file(config: RunConfig) -> str:
    return str(config.run_dir / CLUSTER_FILE)
