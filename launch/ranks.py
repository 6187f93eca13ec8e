"""The training processes of one machine: started together, told the same, ended together.

Invariant: when `end` has returned, or this process has died (SIGKILL too), none of them is left.
"""

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from launch.malloc import KEEP_FREED_MEMORY

_TAIL_LINES = 20


@dataclass(frozen=True)
class Place:
    """Which ranks of the whole this machine has, and where all of them meet."""

    first_rank: int
    local_ranks: int
    world_size: int
    address: str
    port: int
    interface: str | None
    gpus: int = 0
    """That this machine should have; a rank that sees fewer than there are ranks here refuses to train on the CPU."""

    @property
    def ranks(self) -> range:
        """This machine's ranks."""
        return range(self.first_rank, self.first_rank + self.local_ranks)


class LocalRanks:
    """The ranks of `place`, running. Each has a session of its own: Ctrl-C reaches this process only."""

    def __init__(
        self,
        run_dir: Path,
        place: Place,
        threads: int | None = None,
        listener: socket.socket | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Start them. Rank 0 is handed `listener`, a socket that already listens on the meeting point."""
        self.place = place
        threads = threads or max(1, len(os.sched_getaffinity(0)) // place.local_ranks)
        common = {**KEEP_FREED_MEMORY, **os.environ, **(environment or {}), **_shared(place, threads)}
        self.processes = [
            _start(run_dir, common, rank, rank - place.first_rank, listener if rank == 0 else None)
            for rank in place.ranks
        ]

    def codes(self) -> list[int | None]:
        """Exit codes so far (negative: killed by that signal)."""
        return [process.poll() for process in self.processes]

    def send(self, number: int) -> None:
        """Send signal `number` to every rank that is left."""
        for process in self.processes:
            process.send_signal(number)

    def end(self) -> list[int]:
        """Kill what is left, loader workers too; the exit codes."""
        for process in self.processes:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        return [process.returncode for process in self.processes]


def listening_socket(address: str, ranks: int) -> socket.socket:
    """A socket on a free port of `address` (empty: of all), kept open until rank 0 has it: nobody else can take it."""
    listener = socket.socket()
    listener.bind((address, 0))
    listener.listen(ranks)
    return listener


def log_of(run_dir: Path, rank: int, kind: str = "log") -> Path:
    """A rank's log; its `error` message; its `stacks`, written when asked by SIGUSR2."""
    return run_dir / "train" / "logs" / f"rank-{rank}.{kind}"


def explain(run_dir: Path, rank: int, code: int) -> str:
    """One message for a rank that ended with `code`."""
    message = error_of(run_dir, rank)
    if message is not None:
        return message
    log = log_of(run_dir, rank)
    if code < 0:
        return f"rank {rank} was killed by {signal.Signals(-code).name}; the same command continues (log: {log})"
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines() if log.is_file() else []
    tail = "\n".join(f"  {line}" for line in lines[-_TAIL_LINES:])
    return f"rank {rank} failed with exit code {code}; the last lines of {log}:\n{tail}"


def error_of(run_dir: Path, rank: int) -> str | None:
    """The message that a rank left, if it left one."""
    path = log_of(run_dir, rank, "error")
    return path.read_text(encoding="utf-8") if path.is_file() else None


def _shared(place: Place, threads: int) -> dict[str, str]:
    interface = {name: place.interface for name in ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME") if place.interface}
    return {
        "WORLD_SIZE": str(place.world_size),
        "LOCAL_WORLD_SIZE": str(place.local_ranks),
        "MASTER_ADDR": place.address,
        "MASTER_PORT": str(place.port),
        "SPANWRIGHT_PARENT": str(os.getpid()),
        "OMP_NUM_THREADS": str(threads),
        **({"SPANWRIGHT_GPUS": str(place.gpus)} if place.gpus else {}),
        **{name: value for name, value in interface.items() if value},
    }


def _start(
    run_dir: Path, common: Mapping[str, str], rank: int, local_rank: int, listener: socket.socket | None
) -> subprocess.Popen[bytes]:
    environment = {**common, "RANK": str(rank), "LOCAL_RANK": str(local_rank)}
    if listener is not None:
        environment["SPANWRIGHT_LISTEN_FD"] = str(listener.fileno())
    return subprocess.Popen(
        [sys.executable, "-m", "pipeline.training", str(run_dir)],
        env=environment,
        stdin=subprocess.DEVNULL,
        start_new_session=True,
        pass_fds=(listener.fileno(),) if listener is not None else (),
    )
