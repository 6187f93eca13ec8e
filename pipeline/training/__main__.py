"""`python -m pipeline.training RUN_DIR`: one rank, started by `spanwright train` or torchrun.

What libraries print goes to RUN/train/logs/rank-N.log; standard output carries rank 0's progress. An error's message is
left in RUN/train/logs/rank-N.error for the launcher. Asked by SIGUSR2, a rank (even one that hangs in a library) writes
the stacks of its threads to RUN/train/logs/rank-N.stacks.
"""

import faulthandler
import os
import signal
import sys
import traceback
from pathlib import Path
from typing import TextIO

from data_prep.errors import InputError, SpanwrightError
from pipeline.training.stopping import PARENT, die_with_parent


def main(arguments: list[str]) -> int:
    """Run one rank; returns its exit code."""
    if len(arguments) != 1:
        print("usage: python -m pipeline.training RUN_DIR", file=sys.stderr)
        return InputError.exit_code
    # Until training listens (StopRequest), Ctrl-C ends a rank as other stop signals do, and not as a failure.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    launcher = os.environ.get(PARENT)
    if launcher is not None:
        die_with_parent(int(launcher))
    run_dir = Path(arguments[0])
    logs = run_dir / "train" / "logs"
    index = os.environ.get("RANK", "0")
    error_file = logs / f"rank-{index}.error"
    output, errors = sys.stdout, sys.stderr
    try:
        logs.mkdir(parents=True, exist_ok=True)
        error_file.unlink(missing_ok=True)
        output, errors = _redirect(logs / f"rank-{index}.log")
        from pipeline.training.run import train_rank

        train_rank(run_dir, output)
        return 0
    except SpanwrightError as error:
        traceback.print_exc()
        error_file.write_text(str(error), encoding="utf-8")
        if launcher is None and index == "0":
            print(error, file=errors, flush=True)
        return error.exit_code
    except BaseException:
        traceback.print_exc()
        return SpanwrightError.exit_code


def _redirect(log: Path) -> tuple[TextIO, TextIO]:
    """Send this process's standard output and error, libraries' included, to `log`; returns the original two."""
    output, errors = (os.fdopen(os.dup(number), "w", encoding="utf-8") for number in (1, 2))
    with open(log, "a", encoding="utf-8") as file:
        sys.stdout.flush()
        sys.stderr.flush()
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    faulthandler.enable()
    stacks = open(log.with_suffix(".stacks"), "w", encoding="utf-8")  # noqa: SIM115 - open as long as the process
    faulthandler.register(signal.SIGUSR2, file=stacks, all_threads=True)
    return output, errors


if __name__ == "__main__":
    code = main(sys.argv[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    # Communication threads of a group that lost a rank would keep an ordinary exit waiting.
    os._exit(code)
