"""What another process says when this one is ended without a word."""

import subprocess
import sys

import pytest

CODE = """
import os, signal, sys
from data_prep.last_words import last_words
with last_words("it's gone; $HOME `id`"):
    {body}
"""


@pytest.mark.parametrize(
    ("body", "code"), [("os._exit(1)", 1), ("os.kill(os.getpid(), signal.SIGKILL)", -9), ("os.abort()", -6)]
)
def test_a_process_that_is_ended_has_last_words(body: str, code: int) -> None:
    done = subprocess.run([sys.executable, "-c", CODE.format(body=body)], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (code, "", "\nerror it's gone; $HOME `id`\n")


@pytest.mark.parametrize(("body", "code"), [("pass", 0), ("sys.exit(75)", 75), ("raise KeyboardInterrupt", -2)])
def test_a_process_that_leaves_the_block_has_none(body: str, code: int) -> None:
    done = subprocess.run([sys.executable, "-c", CODE.format(body=body)], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (code, "")
    assert "gone" not in done.stderr


def test_ctrl_c_is_not_for_whoever_speaks() -> None:
    """A terminal sends SIGINT to the whole group of processes."""
    body = "signal.signal(signal.SIGINT, signal.SIG_IGN); os.killpg(0, signal.SIGINT); os._exit(3)"
    command = [sys.executable, "-c", CODE.format(body=body)]
    done = subprocess.run(command, capture_output=True, text=True, start_new_session=True)
    assert (done.returncode, done.stderr) == (3, "\nerror it's gone; $HOME `id`\n")
