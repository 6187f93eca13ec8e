"""A Slurm cluster of two nodes on this machine: munged, slurmctld and two slurmd, all our own processes.

Jobs of the partition `urgent` push those of the others out: they are told by their own signal (USR1), killed when
GraceTime is over, and requeued. The nodes have GPUs as far as Slurm knows: files that are none.
"""

import contextlib
import os
import secrets
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.processes import wait_for

CONFIG = """\
ClusterName=here
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
SlurmUser=root
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
SlurmdParameters=config_overrides
ReturnToService=2
KillWait={kill}
SchedulerParameters=sched_interval=2
SlurmctldParameters=preempt_send_user_signal
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
GresTypes=gpu
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]} CPUs=4 Gres=gpu:2
NodeName=n2 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[2]} CPUs=4 Gres=gpu:2
PartitionName=all Nodes=n1,n2 Default=YES MaxTime=INFINITE State=UP PriorityTier=1 GraceTime={grace}
PartitionName=urgent Nodes=n1,n2 MaxTime=INFINITE State=UP PriorityTier=9 PreemptMode=OFF
"""


def free_ports(number: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(number)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


@contextlib.contextmanager
def slurm_site(folder: Path, grace_seconds: int = 120, kill_seconds: int = 60) -> Iterator[dict[str, str]]:
    """The environment in which Slurm's commands reach the cluster; its daemons end with the block."""
    folder.mkdir()
    config, key = folder / "slurm.conf", folder / "munge.key"
    config.write_text(
        CONFIG.format(
            host=socket.gethostname(), ports=free_ports(3), folder=folder, grace=grace_seconds, kill=kill_seconds
        ),
        encoding="utf-8",
    )
    (folder / "gres.conf").write_text("NodeName=n[1-2] Name=gpu File=/dev/null,/dev/zero\n", encoding="utf-8")
    key.write_bytes(secrets.token_bytes(128))
    for path in (folder / "state", folder / "spool-n1", folder / "spool-n2"):
        path.mkdir()
    folder.chmod(0o755)
    key.chmod(0o400)
    environment = {**os.environ, "SLURM_CONF": str(config)}
    munge = [
        "munged", "--foreground", "--force", f"--key-file={key}", f"--socket={folder}/munge.socket",
        f"--log-file={folder}/munge.log", f"--pid-file={folder}/munge.pid", f"--seed-file={folder}/munge.seed",
    ]  # fmt: skip
    daemons = []
    try:
        for command in (munge, ["slurmctld", "-D"], ["slurmd", "-D", "-N", "n1"], ["slurmd", "-D", "-N", "n2"]):
            with open(folder / f"{command[0]}-{len(daemons)}.out", "wb") as output:
                daemons.append(subprocess.Popen(command, env=environment, stdout=output, stderr=subprocess.STDOUT))
            if command is munge:
                wait_for((folder / "munge.socket").exists, seconds=60)
        wait_for(lambda: _is_ready(environment, folder, daemons), seconds=120)
        yield environment
    finally:
        for daemon in reversed(daemons):
            daemon.terminate()
        for daemon in daemons:
            with contextlib.suppress(subprocess.TimeoutExpired):
                daemon.wait(timeout=120)
            daemon.kill()


def _is_ready(environment: dict[str, str], folder: Path, daemons: list[subprocess.Popen[bytes]]) -> bool:
    ended = [number for number, daemon in enumerate(daemons) if daemon.poll() is not None]
    said = [path.read_text() for number in ended for path in folder.glob(f"*-{number}.out")]
    assert not ended, "\n".join(said)
    return slurm(environment, "sinfo", "--noheader", "--partition=all", "--format=%T").split() == ["idle"]


def slurm(environment: dict[str, str], *command: str) -> str:
    """What one of Slurm's commands prints; empty when it fails."""
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""
