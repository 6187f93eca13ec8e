"""Processes that a test waits for, or holds still so that what it does to their run comes before the run goes on."""

import contextlib
import os
import signal
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any


def wait_for(what: Callable[[], Any], seconds: float = 400.0) -> Any:
    """The first true value of `what()`; its last one when the time is up (a loaded machine takes its time)."""
    deadline = time.monotonic() + seconds
    while not (value := what()) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert value, f"not within {seconds:.0f} s"
    return value


# -I and -S: nothing of the environment, and no site-packages whose .pth files would bring the project back.
_ELSEWHERE = """
import importlib.util, sys
sys.path.append({packages!r})
for name in ("pipeline", "data_prep", "launch"):
    assert importlib.util.find_spec(name) is None, f"{{name}} can be imported here"
"""


def run_without_project(code: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run Python `code` in `cwd` where the installed libraries can be imported and this project cannot."""
    code = _ELSEWHERE.format(packages=sysconfig.get_path("purelib")) + code
    command = [sys.executable, "-I", "-S", "-c", code]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)


@contextlib.contextmanager
def held_still(pid: int) -> Iterator[int]:
    """The process, stopped within the block; ranks that train with it wait for it."""
    os.kill(pid, signal.SIGSTOP)
    while _is_running(pid):  # a signal that comes before it has stopped would be taken first
        time.sleep(0.001)
    try:
        yield pid
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


def _is_running(pid: int) -> bool:
    """Whether a thread of it has not stopped yet (or ended)."""
    for stat in Path(f"/proc/{pid}/task").glob("*/stat"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            if stat.read_text().rpartition(")")[2].split()[0] not in "TZX":
                return True
    return False


def is_told_to_stop(pid: int, number: int = signal.SIGTERM) -> bool:
    """Whether that signal waits for a stopped process: its launcher has passed the request on.

    Or it has ended: where Slurm ends a step it lets stopped processes go on first.
    """
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return True
    if any(line.startswith("State:\tZ") for line in lines):
        return True
    [pending] = [line.partition(":")[2] for line in lines if line.startswith("ShdPnd:")]
    return bool(int(pending, 16) & 1 << (number - 1))
