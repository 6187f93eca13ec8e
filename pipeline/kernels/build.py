"""Build every C++ kernel now instead of at first use: `python -m pipeline.kernels.build` (part of `make setup`).

Nothing here is required: without a compiler the slower twins run, with the same results.
"""

import importlib
from typing import NamedTuple

from data_prep import native


class Kernel(NamedTuple):
    """One C++ kernel: what to call it, the function that builds and loads it, and what its absence costs."""

    name: str
    module: str
    function: str
    lost: str


KERNELS = (
    Kernel("tokenizer", "data_prep.tokenizer.encoder", "native_library", "encoding runs at SentencePiece's own speed"),
    Kernel("boundaries", "data_prep.columns.boundaries", "native_library", "the columns words and sents wait for ICU"),
    Kernel("frequencies", "data_prep.finish.document_counts", "native_library", "tokens are counted in NumPy"),
    Kernel("reading", "pipeline.kernels.reading.cpu", "library", "windows are read one at a time in NumPy"),
    Kernel("masking", "pipeline.kernels.masking.cpu", "library", "masking runs in NumPy, about a tenth as fast"),
    Kernel("rows", "pipeline.kernels.rows.cpu", "library", "dropout, RMSNorm and gated GELU run as plain torch"),
    Kernel("cross entropy", "pipeline.kernels.cross_entropy.cpu", "library", "the head's loss runs as plain torch"),
    Kernel("attention", "pipeline.kernels.attention.cpu", "library", "attention on a CPU runs as plain torch"),
)


def is_there(kernel: Kernel) -> bool:
    """Build `kernel` if need be; False where it cannot be built (`data_prep.native` says why)."""
    return getattr(importlib.import_module(kernel.module), kernel.function)() is not None


def main() -> None:
    """Build them all and say what became of each."""
    for kernel in KERNELS:
        there = is_there(kernel)
        print(f"{kernel.name}: " + (f"ready, in {native.cache_folder()}" if there else f"not built: {kernel.lost}"))
    if native.compiler() is None:
        print("There is no C++ compiler (`apt-get install g++`).")


if __name__ == "__main__":
    main()
