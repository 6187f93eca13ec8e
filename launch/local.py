"""Train on this machine: one process per rank, none of which outlives the others or this one.

Invariant: when this function returns, or this process dies (SIGKILL too), no rank is left. A run is trained by one such
process at a time.

1. take a free port and keep its socket open for rank 0
2. start the ranks, each in a session of its own (Ctrl-C reaches this process only)
3. pass stop signals on: the first makes them save and leave with 75, the second ends them at once
4. when a rank fails, end the others and say why in one message
"""

import contextlib
import fcntl
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

from data_prep.errors import InputError, SpanwrightError, StoppedEarlyError
from launch.ranks import LocalRanks, Place, error_of, explain, listening_socket

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
LOOPBACK, LOOPBACK_INTERFACE = "127.0.0.1", "lo"
_POLL_SECONDS = 0.05
_GRACE_SECONDS = 3.0


def launch_local(run_dir: Path, ranks: int, threads_per_rank: int | None = None) -> int:
    """Train the run in `run_dir` (it has a config.yaml) on `ranks` processes of this machine; returns the exit code.

    0: trained; 75: stopped early, saved, and continued by the same call; 1 and 2: failed, with one message on standard
    error. Rank 0's progress goes to standard output. InputError while another process of this machine trains the run.
    """
    run_dir = Path(run_dir).resolve()
    with _alone(run_dir):
        with listening_socket(LOOPBACK, ranks) as listener:
            place = Place(0, ranks, ranks, LOOPBACK, listener.getsockname()[1], LOOPBACK_INTERFACE)
            running = LocalRanks(run_dir, place, threads_per_rank, listener)
        try:
            with _stop_signals_passed_on(running) as received:
                failed = _wait(running)
        finally:
            codes = running.end()
    code, message = _outcome(run_dir, codes, failed, received)
    if codes[0] < 0 and sys.stdout.isatty():
        print(flush=True)  # rank 0 was killed in the middle of its progress line
    if message is not None:
        print(message, file=sys.stderr, flush=True)
    return code


@contextlib.contextmanager
def _alone(run_dir: Path) -> Iterator[None]:
    """Hold the run's folder, which no rank inherits: the lock goes with this process, however it ends."""
    with contextlib.ExitStack() as held:
        try:
            descriptor = os.open(run_dir, os.O_RDONLY | os.O_DIRECTORY)
            held.callback(os.close, descriptor)
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise InputError(
                f"{run_dir}: another process trains this run; wait for it, stop it, or train in another run.dir"
            ) from error
        except OSError:
            pass  # a file system without locks; a folder that is not there, of which the ranks tell
        yield


@contextlib.contextmanager
def _stop_signals_passed_on(running: LocalRanks) -> Iterator[list[int]]:
    """Pass the first stop signal on to the ranks and end them at the second; gives the list of those received."""
    received: list[int] = []
    if threading.current_thread() is not threading.main_thread():  # only the main thread may handle signals
        yield received
        return

    def pass_on(number: int, frame: FrameType | None) -> None:
        received.append(number)
        running.send(number if len(received) == 1 else signal.SIGKILL)

    before = {number: signal.signal(number, pass_on) for number in STOP_SIGNALS}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _wait(running: LocalRanks) -> int | None:
    """Wait for all ranks; the first that failed (the others get a moment to say more), or None."""
    while True:
        codes = running.codes()
        failed = next((rank for rank, code in enumerate(codes) if code not in (None, 0, 75)), None)
        if failed is not None:
            _wait_a_moment(running)
            return failed
        if None not in codes:
            return None
        time.sleep(_POLL_SECONDS)


def _wait_a_moment(running: LocalRanks) -> None:
    deadline = time.monotonic() + _GRACE_SECONDS
    while time.monotonic() < deadline and None in running.codes():
        time.sleep(_POLL_SECONDS)


def _outcome(run_dir: Path, codes: list[int], failed: int | None, received: list[int]) -> tuple[int, str | None]:
    """Exit code and message of a launch whose ranks ended with `codes`, `failed` the first that failed."""
    if len(received) > 1:
        return SpanwrightError.exit_code, "stopped at once; the same command continues from the newest checkpoint"
    if failed is not None and -codes[failed] in received:  # before it listened for signals
        return StoppedEarlyError.exit_code, "stopped before the first step; the same command continues"
    if failed is not None:
        return max(codes[failed], SpanwrightError.exit_code), explain(run_dir, failed, codes[failed])
    if StoppedEarlyError.exit_code in codes:
        return StoppedEarlyError.exit_code, error_of(run_dir, codes.index(StoppedEarlyError.exit_code))
    return 0, None
