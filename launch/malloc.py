"""Memory of large tensors that glibc keeps for the next ones.

By itself it hands what a large tensor took back to the system and takes it again, page by page, for the next: 7 % of
the CPU time of training a small model, 40 % of asking one (docs/log.md). Only defaults: what the environment says wins.

What is kept has to fit the next tensor. glibc cuts an aligned block out of a larger one, and a few bytes at its ends
are over. Small objects that were freed there and are held back for the next small ones ("tcache", "fastbins") keep them
from joining again: the hole is then too small for the same tensor, and ranks grew by 20 MB a step. So none is held
back.
"""

import ctypes
import os

_TOP_PAD = 256 << 20
KEEP_FREED_MEMORY = {
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": str(8 << 30),
    "MALLOC_TOP_PAD_": str(_TOP_PAD),
    "GLIBC_TUNABLES": "glibc.malloc.tcache_count=0:glibc.malloc.mxfast=0",
}
"""For the environment of a process that is started."""
# The same for mallopt, by its numbers (malloc.h); it takes an int, and has no number for tcache.
_OPTIONS = {
    "MALLOC_MMAP_MAX_": (-4, 0),
    "MALLOC_TRIM_THRESHOLD_": (-1, 2**31 - 1),
    "MALLOC_TOP_PAD_": (-2, _TOP_PAD),
    "GLIBC_TUNABLES": (1, 0),
}


def keep_freed_memory() -> None:
    """In this process from now on; does nothing where there is no glibc."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    for name, (number, value) in _OPTIONS.items():
        if mallopt is not None and name not in os.environ:
            mallopt(number, value)
