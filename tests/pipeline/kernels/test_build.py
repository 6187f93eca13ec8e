"""All kernels are built by one command; without a compiler it says what is lost."""

import os
import subprocess
import sys
from pathlib import Path

from pipeline.kernels import build

ROOT = Path(__file__).parents[3]


def run_build(**environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pipeline.kernels.build"]
    return subprocess.run(command, cwd=ROOT, env=os.environ | environment, capture_output=True, text=True, check=False)


def test_one_command_builds_every_kernel() -> None:
    done = run_build()
    lines = done.stdout.splitlines()
    assert [line.split(":")[0] for line in lines] == [kernel.name for kernel in build.KERNELS]
    assert all("ready, in" in line for line in lines), done.stdout
    assert done.returncode == 0


def test_without_a_compiler_it_says_what_is_lost(tmp_path: Path) -> None:
    done = run_build(PATH=str(tmp_path), CXX="")
    *lines, reason = done.stdout.splitlines()
    assert lines == [f"{kernel.name}: not built: {kernel.lost}" for kernel in build.KERNELS]
    assert reason == "There is no C++ compiler (`apt-get install g++`)."
    assert done.returncode == 0
