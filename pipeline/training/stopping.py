"""Asked to stop: finish the step, save, leave with exit code 75. Asked again: leave at once.

SIGTERM, SIGINT (Ctrl-C), SIGUSR1 (Slurm's warning) and the wall-clock limit ask. Any rank may be asked; the ranks agree
at the start of a step.
"""

import ctypes
import os
import signal
import time
from types import FrameType

_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
_PR_SET_PDEATHSIG = 1
EXIT_AT_ONCE = 1
PARENT = "SPANWRIGHT_PARENT"
"""Environment variable: the process id of the launcher of ours that started this rank."""


class StopRequest:
    """Whether somebody asked this rank to stop."""

    def __init__(self, stop_after_seconds: float | None, launched: bool = False) -> None:
        """`launched`: by a launcher of ours, which ends this process itself when it is asked again."""
        self._launched = launched
        self._deadline = None if stop_after_seconds is None else time.monotonic() + stop_after_seconds
        self._signal: int | None = None

    def listen(self) -> None:
        """Take over the stop signals of this process."""
        for number in _SIGNALS:
            signal.signal(number, self._receive)

    @property
    def reason(self) -> str | None:
        """Who asked, or None."""
        if self._signal is not None:
            return signal.Signals(self._signal).name
        if self._deadline is not None and time.monotonic() >= self._deadline:
            return "training.stop_after"
        return None

    def _receive(self, number: int, frame: FrameType | None) -> None:
        # A scheduler signals every process of a job, and our launcher passes the same signal on: with one, only it
        # decides when "again" means "at once".
        if self._signal is not None and not self._launched:
            os._exit(EXIT_AT_ONCE)
        self._signal = number


def ignore_stop_signals() -> None:
    """For helper processes: they end with the process they help, not before it has saved."""
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def die_with_parent(parent: int) -> None:
    """Have the kernel kill this process when process `parent`, which started it, is gone (even by SIGKILL)."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # gone before the call above
        os._exit(EXIT_AT_ONCE)
