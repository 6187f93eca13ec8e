"""Large arrays made one after another take pages from the system once, where glibc is told to keep them."""

import os
import platform
import subprocess
import sys

import pytest

from launch.malloc import KEEP_FREED_MEMORY

needs_glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="no glibc")
PAGES = """
import ctypes, resource, sys
import numpy as np
from launch.malloc import keep_freed_memory
ctypes.CDLL(None).prctl(41, 1, 0, 0, 0)  # PR_SET_THP_DISABLE: a page is 4 KiB, wherever an array lies
if sys.argv[1] == "keeps":
    keep_freed_memory()
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
np.ones(4 << 20)
before = faults()
for _ in range(8):
    np.ones(4 << 20)
print(faults() - before)
"""

GROWTH = """
import torch
torch.set_num_threads(1)
def memory():
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) // 1024
table = torch.nn.Embedding(4000, 256)
layers = [torch.nn.Linear(256, 512), torch.nn.GELU(), torch.nn.Linear(512, 256)] * 4
model = torch.nn.Sequential(table, *layers)
for step in range(40):
    logits = model(torch.arange(300 + step * 37 % 100)) @ table.weight.T
    logits.logsumexp(1).sum().backward()
    model.zero_grad()
    if step == 9:
        before = memory()
print(memory() - before)
"""


def pages(mode: str, **environment: str) -> int:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    return printed(PAGES, mode, environment=clean | environment)


def printed(*arguments: str, environment: dict[str, str]) -> int:
    command = [sys.executable, "-c", *arguments]
    return int(subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout)


@needs_glibc
def test_large_arrays_come_back_unless_the_environment_says_otherwise() -> None:
    by_itself = pages("as it is")
    assert pages("keeps") < by_itself / 4
    assert pages("keeps", MALLOC_MMAP_MAX_="65536", MALLOC_TRIM_THRESHOLD_="131072") > by_itself / 4


@needs_glibc
def test_what_is_kept_fits_the_next_tensors_so_that_steps_do_not_make_a_process_grow() -> None:
    """Megabytes in thirty steps of a model whose large tensors take about 60."""
    environment = {**os.environ, **KEEP_FREED_MEMORY}
    assert printed(GROWTH, environment=environment) < 40
    assert printed(GROWTH, environment=environment | {"GLIBC_TUNABLES": ""}) > 60
