"""Slurm: one sbatch script per stage, joined by dependencies. Pure: config in, texts out.

The training script starts one process per node. Told by USR1 that time is nearly up, or that a higher partition wants
the nodes, it lets the ranks save (exit code 75) and requeues the job. Slurm requeues by itself what it kills or loses,
but not a job that ended in time: of a preemption by TERM only the tasks hear, never the script. So every 75 requeues,
unless the script itself got TERM (`spanwright cancel`).
"""

import shlex

from launch.clusters.config import SlurmCluster, SlurmResources
from launch.clusters.load import CLUSTER_FILE, cluster_text
from launch.clusters.submission import SUBMIT_FOLDER, Job, Submission, job_name, plain_path, program
from pipeline.config import RunConfig

_PASS_SIGNALS_ON = """\
step=$!
cancelled=0
interrupted=0
on_signal() { interrupted=1; kill -USR1 "$step" 2>/dev/null || true; }  # srun passes it on; TERM makes it kill
trap on_signal USR1                   # the time limit is near, or preempted: save
trap 'cancelled=1; on_signal' TERM    # cancelled: save
while true; do
    code=0
    interrupted=0
    wait "$step" || code=$?
    [ "$interrupted" -eq 1 ] || break
done
if [ "$code" -eq 75 ] && [ "$cancelled" -eq 0 ]; then
    {when_saved}
fi
exit "$code"
"""
_REQUEUE = 'scontrol requeue "$SLURM_JOB_ID"'
_TELL = 'echo "saved: the next job of the chain continues, or submit again"'


def slurm_submission(config: RunConfig, cluster: SlurmCluster) -> Submission:
    """The scripts of prep, train and export (with evaluation), and the sbatch calls that chain them."""
    scripts = {
        "prep": _single(config, cluster, "prep", cluster.prep, ("prep",)),
        "train": _training(config, cluster),
        "export": _single(config, cluster, "export", cluster.export, ("export", "evaluate")),
    }
    files = {CLUSTER_FILE: cluster_text(cluster)}
    files |= {f"{SUBMIT_FOLDER}/{name}.sbatch": text for name, text in scripts.items()}
    folder = plain_path(config.run_dir, "run.dir")
    jobs, after = [_sbatch(folder, "prep", "prep", None)], "afterok:{prep}"
    for number in range(1, cluster.chain + 1):
        name = "train" if cluster.chain == 1 else f"train-{number}"
        jobs.append(_sbatch(folder, "train", name, after))
        after = f"afterany:{{{name}}}" if number < cluster.chain else f"afterok:{{{name}}}"
    jobs.append(_sbatch(folder, "export", "export", after))
    return Submission(files, tuple(jobs))


def _sbatch(folder: str, script: str, name: str, dependency: str | None) -> Job:
    options = ("--parsable", *((f"--dependency={dependency}", "--kill-on-invalid-dep=yes") if dependency else ()))
    return Job(name, ("sbatch", *options, f"{folder}/{SUBMIT_FOLDER}/{script}.sbatch"))


def _single(
    config: RunConfig, cluster: SlurmCluster, stage: str, resources: SlurmResources, commands: tuple[str, ...]
) -> str:
    header = [*_header(config, cluster, stage, resources), "--nodes=1", "--ntasks=1"]
    if stage == "export" and cluster.gpus_per_node:
        header.append("--gpus-per-node=1")
    folder = plain_path(config.run_dir, "run.dir")
    lines = [shlex.join([*_spanwright(cluster), command, folder]) for command in commands]
    return _script(header, cluster, "\n".join(lines) + "\n")


def _training(config: RunConfig, cluster: SlurmCluster) -> str:
    header = [
        *_header(config, cluster, "train", cluster.train),
        f"--nodes={cluster.nodes}",
        "--ntasks-per-node=1",
        f"--signal=B:USR1@{cluster.signal_seconds}",
        "--requeue" if cluster.requeue else "--no-requeue",
        *([f"--gpus-per-node={cluster.gpus_per_node}"] if cluster.gpus_per_node else []),
        *(["--no-kill"] if cluster.supervise.elastic else []),
    ]
    folder = plain_path(config.run_dir, "run.dir")
    command = ["train", folder, "--within", f"{folder}/{CLUSTER_FILE}"]
    # A node's failure is the leader's to judge: srun must not end the others.
    step = shlex.join(["srun", "--ntasks-per-node=1", "--kill-on-bad-exit=0", *_spanwright(cluster), *command])
    rest = _PASS_SIGNALS_ON.replace("{when_saved}", _REQUEUE if cluster.requeue else _TELL)
    return _script(header, cluster, f"{step} &\n{rest}")


def _header(config: RunConfig, cluster: SlurmCluster, stage: str, resources: SlurmResources) -> list[str]:
    folder = plain_path(config.run_dir, "run.dir")
    asked = {
        "partition": resources.partition,
        "account": cluster.account,
        "qos": cluster.qos,
        "constraint": cluster.constraint,
        "time": resources.time,
        "cpus-per-task": resources.cpus,
        "mem": resources.memory,
    }
    return [
        f"--job-name={job_name(config)}-{stage}",
        f"--output={folder}/logs/{stage}-%j.log",
        "--open-mode=append",
        *(f"--{name}={value}" for name, value in asked.items() if value is not None),
        *cluster.options,
    ]


def _script(header: list[str], cluster: SlurmCluster, body: str) -> str:
    lines = ["#!/usr/bin/env bash", *(f"#SBATCH {option}" for option in header)]
    lines += ["# Written by `spanwright submit`.", *_modules(cluster), "set -euo pipefail"]
    lines += [f"export {name}={shlex.quote(value)}" for name, value in sorted(cluster.environment.items())]
    return "\n".join(lines) + "\n\n" + body


def _modules(cluster: SlurmCluster) -> list[str]:
    """Before `set -u`: sites' profiles use variables that may not be there."""
    if not cluster.modules:
        return []
    find = "command -v module >/dev/null || . /etc/profile  # `module` is a function of login shells"
    return [find, *(f"module load {shlex.quote(name)} || exit 1" for name in cluster.modules)]


def _spanwright(cluster: SlurmCluster) -> list[str]:
    """The words that start the command line on a node."""
    if cluster.container:
        binds = [f"--bind={bind}" for bind in cluster.binds]
        return [
            "apptainer",
            "exec",
            *(["--nv"] if cluster.gpus_per_node else []),
            *binds,
            cluster.container,
            "spanwright",
        ]
    if cluster.venv:
        return [f"{cluster.venv}/bin/spanwright"]
    return [program()]
