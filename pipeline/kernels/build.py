"""Build every C++ kernel now instead of at first use: `python -m pipeline.kernels.build` (part of `make setup`).

Nothing here is required: without a compiler the slower twins run, with the same results.
"""

import importlib
import sys
from typing import NamedTuple

from data_prep import native
from data_prep.errors import SpanwrightError


class Kernel(NamedTuple):
    """One C++ kernel: what to call it, the function that builds and loads it, and what its absence costs."""

    name: str
    module: str
    function: str
    lost: str


KERNELS = (
    Kernel("tokenizer", "data_prep.tokenizer.encoder", "native_library", "encoding runs at SentencePiece's own speed"),
    Kernel("masking", "pipeline.kernels.masking.cpu", "library", "masking runs in NumPy, about a tenth as fast"),
    Kernel("attention", "pipeline.kernels.attention.cpu", "library", "attention on a CPU runs as plain torch"),
)


def is_there(kernel: Kernel) -> bool:
    """Build `kernel` if need be; False without a compiler. SpanwrightError where it does not compile."""
    return getattr(importlib.import_module(kernel.module), kernel.function)() is not None


def main() -> int:
    """Build them all and say what became of each; 1 if one does not compile."""
    failed = False
    for kernel in KERNELS:
        try:
            state = f"ready, in {native.cache_folder()}" if is_there(kernel) else f"no compiler: {kernel.lost}"
        except SpanwrightError as error:
            state, failed = f"FAILED: {error}", True
        print(f"{kernel.name}: {state}")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
