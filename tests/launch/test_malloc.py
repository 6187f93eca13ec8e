"""Large arrays made one after another take pages from the system once, where glibc is told to keep them."""

import os
import platform
import subprocess
import sys

import pytest

PAGES = """
import resource, sys
import numpy as np
from launch.malloc import keep_freed_memory
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


def pages(mode: str, **environment: str) -> int:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    command = [sys.executable, "-c", PAGES, mode]
    return int(subprocess.run(command, env=clean | environment, capture_output=True, text=True, check=True).stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="no glibc")
def test_large_arrays_come_back_unless_the_environment_says_otherwise() -> None:
    by_itself = pages("as it is")
    assert pages("keeps") < by_itself / 4
    assert pages("keeps", MALLOC_MMAP_MAX_="65536", MALLOC_TRIM_THRESHOLD_="131072") > by_itself / 4
