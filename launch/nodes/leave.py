"""`python -m launch.nodes.leave RUN SECONDS`: this machine is about to be taken away; have the training save before.

Kubernetes runs it in each pod that it is going to end (preStop), and signals the pod when it is done.
"""

import sys
import time
from pathlib import Path

from data_prep.errors import InputError
from launch.nodes.board import Attempt, Board

_POLL_SECONDS = 0.5
_SILENT_SECONDS = 10.0  # a leader puts its attempt up anew every second


def leave(train_dir: Path, seconds: float) -> bool:
    """Ask the training to save and stop; wait until it has, at most `seconds`. False when it had no time to."""
    board = Board(train_dir)
    before = board.attempt()
    if before is None or before.state == "finished":
        return True
    board.ask_to_stop()
    deadline, changed, last = time.monotonic() + seconds, time.monotonic(), before
    while (now := board.attempt()) is not None and not _is_over(before, now):
        if now.beat != last.beat:
            changed, last = time.monotonic(), now
        if time.monotonic() > deadline:
            return False
        if time.monotonic() - changed > _SILENT_SECONDS and now.state == "running":
            return True  # its leader is gone: there is nothing left to save
        time.sleep(_POLL_SECONDS)
    return True


def _is_over(before: Attempt, now: Attempt) -> bool:
    return now.state == "finished" or now.number != before.number


def main(arguments: list[str]) -> int:
    """The exit code."""
    if len(arguments) != 2 or not arguments[1].isdecimal():
        print("usage: python -m launch.nodes.leave RUN SECONDS", file=sys.stderr)
        return InputError.exit_code
    return 0 if leave(Path(arguments[0]) / "train", float(arguments[1])) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
