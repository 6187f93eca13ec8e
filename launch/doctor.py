"""What this machine has, what it lacks, and how to get it (`spanwright doctor`)."""

import importlib.metadata
import importlib.util
import os
import platform
import shutil
import sys
from pathlib import Path
from typing import NamedTuple

from rich.table import Table

from data_prep import native
from launch.terminal import table

# Instruction sets that decide how fast bf16 matrix products run on a CPU, fastest first (names of /proc/cpuinfo).
_BF16_FLAGS = ("amx_bf16", "avx512_bf16")
_GIB = 1 << 30
_NATIVE = "attention, masking, reading, what a layer does to its rows, encoding and the columns of words and sentences"


class Finding(NamedTuple):
    """One thing looked for."""

    name: str
    found: bool
    what: str
    needed: bool
    advice: str


def examine() -> list[Finding]:
    """Look at interpreter, packages, compiler, processor, memory, disk and accelerators. Changes nothing."""
    return [
        _python(),
        *(_package(name, needed, advice) for name, needed, advice in _PACKAGES),
        _compiler(),
        _processor(),
        _memory(),
        _disk(),
        _gpu(),
        _program("sbatch", "Slurm", "Only needed to submit to a Slurm cluster."),
    ]


def findings_table(findings: list[Finding]) -> Table:
    """The findings as a table: what is there, what is missing and how to get it."""
    rows = []
    for finding in findings:
        mark = "ok" if finding.found else ("MISSING" if finding.needed else "absent")
        rows.append((mark, finding.name, finding.what, "" if finding.found else finding.advice))
    return table(("", "part", "found", "what to do"), rows)


_INSTALL = "Run `make setup`, or `pip install -e .`."
_PACKAGES = (
    ("torch", True, _INSTALL),
    ("deepspeed", True, _INSTALL),
    ("ray", True, _INSTALL),
    ("webdataset", True, _INSTALL),
    ("sentencepiece", True, _INSTALL),
    ("tensorboard", True, _INSTALL),
    ("transformers", False, "Needed by export: `pip install -e .[export]`."),
    ("triton", False, "Only needed on a GPU; it comes with torch's CUDA build."),
    ("liger_kernel", False, "Only used on a GPU: `pip install -e .[gpu]`."),
    ("torchao", False, "Needed by training.float8: `pip install -e .[gpu]`."),
)


def _python() -> Finding:
    supported = (3, 11) <= sys.version_info[:2] < (3, 14)
    return Finding("python", supported, platform.python_version(), True, "Use Python 3.11, 3.12 or 3.13.")


def _package(name: str, needed: bool, advice: str) -> Finding:
    found = importlib.util.find_spec(name) is not None
    version = importlib.metadata.version(name) if found else "not installed"
    return Finding(name, found, version, needed, advice)


def _compiler() -> Finding:
    command = native.compiler()
    advice = f"Without one these run in plain torch and Python, slower: {_NATIVE}. `apt-get install g++`."
    return Finding("C++ compiler", command is not None, native.compiler_version() if command else "none", False, advice)


def _processor() -> Finding:
    info = Path("/proc/cpuinfo")
    text = info.read_text() if info.exists() else ""
    flags = set(next((line for line in text.splitlines() if line.startswith("flags")), "").split())
    fast = next((flag for flag in _BF16_FLAGS if flag in flags), None)
    cores = len(os.sched_getaffinity(0))
    what = f"{cores} cores, bf16 by {fast}" if fast else f"{cores} cores, no bf16 instructions"
    return Finding("processor", fast is not None, what, False, "Slow bf16: give training.precision=fp32.")


def _memory() -> Finding:
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return Finding("memory", total >= 4 * _GIB, f"{total / _GIB:.1f} GiB", False, "Below 4 GiB only tiny models fit.")


def _disk() -> Finding:
    free = shutil.disk_usage(Path.cwd()).free
    return Finding("disk here", free >= 5 * _GIB, f"{free / _GIB:.1f} GiB free", False, "Put run.dir on a larger disk.")


def _gpu() -> Finding:
    import torch

    names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return Finding("GPU", bool(names), ", ".join(names) or "none", False, "Training runs on the CPU.")


def _program(program: str, name: str, advice: str) -> Finding:
    path = shutil.which(program)
    return Finding(name, path is not None, path or "none", False, advice)
