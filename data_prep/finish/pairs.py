"""Which tokens stand beside each other how often, exactly, over any corpus in bounded memory.

A pair of tokens is one number: (first * 2^32 + second) times an odd constant, modulo 2^64. That is a permutation, so
counts are exact, and it scatters pairs evenly, so a part of the work is a range of these keys.

1. `PairCounter` counts a unit's pairs; memory holds its distinct pairs and a buffer.
2. `merged` adds up the counts of all units within one range of keys; memory holds the distinct pairs of that range.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

KEYS_NAME, COUNTS_NAME = "pair_keys.npy", "pair_counts.npy"
_SCATTER = 0x9E3779B97F4A7C15
_GATHER = pow(_SCATTER, -1, 2**64)
_BUFFER_PAIRS = 2**22

Counts = tuple[np.ndarray, np.ndarray]  # keys, ascending: [pairs] uint64; how often: [pairs] int64
NOTHING: Counts = (np.zeros(0, np.uint64), np.zeros(0, np.int64))


def pair_keys(token_ids: np.ndarray) -> np.ndarray:
    """The keys of the pairs of neighbours: [tokens - 1] uint64."""
    ids = token_ids.astype(np.uint64)
    return ((ids[:-1] << np.uint64(32)) | ids[1:]) * np.uint64(_SCATTER)


def pair_tokens(keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """First and second tokens of keys: two of [pairs] int64."""
    plain = keys * np.uint64(_GATHER)
    return (plain >> np.uint64(32)).astype(np.int64), (plain & np.uint64(2**32 - 1)).astype(np.int64)


class PairCounter:
    """Counts the pairs of one unit's documents."""

    def __init__(self) -> None:
        self._counts, self._buffer, self._waiting = NOTHING, list[np.ndarray](), 0

    def add(self, token_ids: np.ndarray) -> None:
        """Count the pairs of a document."""
        self._buffer.append(pair_keys(token_ids))
        self._waiting += len(token_ids)
        if self._waiting > _BUFFER_PAIRS:
            self._counts = self.counts()
            self._buffer, self._waiting = [], 0

    def counts(self) -> Counts:
        """All pairs so far."""
        keys = np.concatenate([NOTHING[0], *self._buffer])
        return _added([self._counts, (keys, np.ones(len(keys), np.int64))])

    def save(self, folder: Path) -> int:
        """Write the counts into `folder`; how many different pairs there are."""
        keys, counts = self.counts()
        np.save(folder / KEYS_NAME, keys, allow_pickle=False)
        np.save(folder / COUNTS_NAME, counts, allow_pickle=False)
        return len(keys)


def merged(folders: Iterable[Path], number: int, count: int) -> Counts:
    """The pairs of all units whose keys lie in range `number` of `count`."""
    total, waiting, size = NOTHING, list[Counts](), 0
    for folder in folders:
        part = _range(folder, number, count)
        waiting.append(part)
        size += len(part[0])
        if size > max(_BUFFER_PAIRS, len(total[0])):
            total, waiting, size = _added([total, *waiting]), [], 0
    return _added([total, *waiting])


def _range(folder: Path, number: int, count: int) -> Counts:
    keys = np.load(folder / KEYS_NAME, mmap_mode="r", allow_pickle=False)
    counts = np.load(folder / COUNTS_NAME, mmap_mode="r", allow_pickle=False)
    start = np.searchsorted(keys, np.uint64(2**64 * number // count))
    stop = len(keys) if number + 1 == count else np.searchsorted(keys, np.uint64(2**64 * (number + 1) // count))
    return np.array(keys[start:stop]), np.array(counts[start:stop])


def _added(parts: Sequence[Counts]) -> Counts:
    keys = np.concatenate([keys for keys, _ in parts])
    counts = np.concatenate([counts for _, counts in parts])
    order = np.argsort(keys, kind="stable")
    keys, counts = keys[order], counts[order]
    first = np.flatnonzero(np.concatenate([np.ones(min(len(keys), 1), bool), keys[1:] != keys[:-1]]))
    return keys[first], np.add.reduceat(counts, first) if len(first) else counts
