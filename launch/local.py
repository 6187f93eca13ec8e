"""Train on this machine: one process per rank, none of which outlives the others or this one.

Invariant: when this function returns, or this process dies (SIGKILL too), no rank is left.

1. take a free port and keep its socket open for rank 0
2. start the ranks, each in a session of its own (Ctrl-C reaches this process only)
3. pass stop signals on: the first makes them save and leave with 75, the second ends them at once
4. when a rank fails, end the others and say why in one message
"""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

from data_prep.errors import SpanwrightError, StoppedEarlyError

_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
_POLL_SECONDS = 0.05
_GRACE_SECONDS = 3.0
_TAIL_LINES = 20
_KEEP_FREED_MEMORY = {
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": str(8 << 30),
    "MALLOC_TOP_PAD_": str(256 << 20),
}
"""By itself glibc hands the large tensors of every step back to the system and takes them again, page by page, in the
next: 7 % of a small model's CPU time (docs/log.md). Only defaults: what the user's environment says wins."""


def launch_local(run_dir: Path, ranks: int, threads_per_rank: int | None = None) -> int:
    """Train the run in `run_dir` (it has a config.yaml) on `ranks` processes of this machine; returns the exit code.

    0: trained; 75: stopped early, saved, and continued by the same call; 1 and 2: failed, with one message on standard
    error. Rank 0's progress goes to standard output.
    """
    run_dir = Path(run_dir).resolve()
    threads = threads_per_rank or max(1, len(os.sched_getaffinity(0)) // ranks)
    processes = _start(run_dir, ranks, threads)
    try:
        with _stop_signals_passed_on(processes) as received:
            failed = _wait(processes)
    finally:
        _end(processes)
    code, message = _outcome(run_dir, [process.returncode for process in processes], failed, received)
    if processes[0].returncode < 0 and sys.stdout.isatty():
        print(flush=True)  # rank 0 was killed in the middle of its progress line
    if message is not None:
        print(message, file=sys.stderr, flush=True)
    return code


def _start(run_dir: Path, ranks: int, threads: int) -> list[subprocess.Popen[bytes]]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(ranks)
        common = {
            **_KEEP_FREED_MEMORY,
            **os.environ,
            "WORLD_SIZE": str(ranks),
            "LOCAL_WORLD_SIZE": str(ranks),
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(listener.getsockname()[1]),
            "SPANWRIGHT_PARENT": str(os.getpid()),
            "OMP_NUM_THREADS": str(threads),
            "GLOO_SOCKET_IFNAME": "lo",
        }
        processes = []
        for rank in range(ranks):
            environment = {**common, "RANK": str(rank), "LOCAL_RANK": str(rank)}
            if rank == 0:
                environment["SPANWRIGHT_LISTEN_FD"] = str(listener.fileno())
            processes.append(
                subprocess.Popen(
                    [sys.executable, "-m", "pipeline.training", str(run_dir)],
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    start_new_session=True,
                    pass_fds=(listener.fileno(),) if rank == 0 else (),
                )
            )
    return processes


@contextlib.contextmanager
def _stop_signals_passed_on(processes: list[subprocess.Popen[bytes]]) -> Iterator[list[int]]:
    """Pass the first stop signal on to the ranks and end them at the second; gives the list of those received."""
    received: list[int] = []
    if threading.current_thread() is not threading.main_thread():  # only the main thread may handle signals
        yield received
        return

    def pass_on(number: int, frame: FrameType | None) -> None:
        received.append(number)
        for process in processes:
            process.send_signal(number if len(received) == 1 else signal.SIGKILL)

    before = {number: signal.signal(number, pass_on) for number in _STOP_SIGNALS}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _wait(processes: list[subprocess.Popen[bytes]]) -> int | None:
    """Wait for all ranks; the first that failed (the others get a moment to say more), or None."""
    while True:
        codes = [process.poll() for process in processes]
        failed = next((rank for rank, code in enumerate(codes) if code not in (None, 0, 75)), None)
        if failed is not None:
            _wait_a_moment(processes)
            return failed
        if None not in codes:
            return None
        time.sleep(_POLL_SECONDS)


def _wait_a_moment(processes: list[subprocess.Popen[bytes]]) -> None:
    deadline = time.monotonic() + _GRACE_SECONDS
    while time.monotonic() < deadline and any(process.poll() is None for process in processes):
        time.sleep(_POLL_SECONDS)


def _end(processes: list[subprocess.Popen[bytes]]) -> None:
    for process in processes:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # its loader workers too
        process.wait()


def _outcome(run_dir: Path, codes: list[int], failed: int | None, received: list[int]) -> tuple[int, str | None]:
    """Exit code and message of a launch whose ranks ended with `codes`, `failed` the first that failed."""
    if len(received) > 1:
        return SpanwrightError.exit_code, "stopped at once; the same command continues from the newest checkpoint"
    if failed is not None and -codes[failed] in received:  # before it listened for signals
        return StoppedEarlyError.exit_code, "stopped before the first step; the same command continues"
    if failed is not None:
        return max(codes[failed], SpanwrightError.exit_code), _explain(run_dir, failed, codes[failed])
    if StoppedEarlyError.exit_code in codes:
        return StoppedEarlyError.exit_code, _error_of(run_dir, codes.index(StoppedEarlyError.exit_code))
    return 0, None


def _explain(run_dir: Path, rank: int, code: int) -> str:
    message = _error_of(run_dir, rank)
    if message is not None:
        return message
    log = run_dir / "train" / "logs" / f"rank-{rank}.log"
    if code < 0:
        return f"rank {rank} was killed by {signal.Signals(-code).name}; the same command continues (log: {log})"
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines() if log.is_file() else []
    tail = "\n".join(f"  {line}" for line in lines[-_TAIL_LINES:])
    return f"rank {rank} failed with exit code {code}; the last lines of {log}:\n{tail}"


def _error_of(run_dir: Path, rank: int) -> str | None:
    """The message that a rank left, if it left one."""
    path = run_dir / "train" / "logs" / f"rank-{rank}.error"
    return path.read_text(encoding="utf-8") if path.is_file() else None
