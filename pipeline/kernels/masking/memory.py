"""Memory for views that is used again once nobody can see it: fresh pages cost more than masking.

Invariant: a block comes back only when its owner dies, and every array over it, with all their slices and tensors,
keeps the owner alive. Nothing is counted or guessed.
"""

import numpy as np

from pipeline.corruption.sampling import Int64Array

_MOST_IDLE = 4  # blocks of a size
_MOST_SIZES = 8
_idle: dict[int, list[Int64Array]] = {}


class _Owner:
    """What the arrays over a block refer to; its end gives the block back."""

    def __init__(self, block: Int64Array, home: list[Int64Array]) -> None:
        self.block, self.home = block, home
        self.__array_interface__ = block.__array_interface__

    def __del__(self) -> None:
        if len(self.home) < _MOST_IDLE:
            self.home.append(self.block)


def block(num_words: int) -> Int64Array:
    """[num_words] int64 of unwritten memory."""
    if num_words not in _idle and len(_idle) >= _MOST_SIZES:
        _idle.clear()
    home = _idle.setdefault(num_words, [])
    try:
        memory = home.pop()
    except IndexError:
        memory = np.empty(num_words, np.int64)
    return np.asarray(_Owner(memory, home))
