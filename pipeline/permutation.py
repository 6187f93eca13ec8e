"""A keyed permutation of `range(size)`: O(1) memory, O(1) seek, no state.

A generalised Feistel network permutes the rectangle a x b that just covers `size` (a = ceil(sqrt(size))); *cycle
walking* repeats it until the result is below `size`, on average less than once more. Each of the eight rounds mixes
one half with a round key (Philox bits of the caller's key) by murmur3's 32-bit finaliser and adds it to the other
half, modulo a or b in turn. All integer arithmetic: the same order on any machine.

Sources: Black & Rogaway 2002, "Ciphers with Arbitrary Finite Domains" (generalised Feistel, cycle walking).
"""

import math
from functools import lru_cache

import numpy as np

from pipeline.corruption.philox import Key, random_bits

MAX_SIZE = 2**62
ROUNDS = 8  # even: the halves end where they began
_LOW_32 = 0xFFFFFFFF
_MIX_1, _MIX_2 = 0x85EBCA6B, 0xC2B2AE35


def permute(index: int, size: int, key: Key) -> int:
    """Where the permutation of `range(size)` under `key` sends `index`."""
    a, b = sides(size)
    if not 0 <= index < size:
        raise IndexError(f"index {index} is outside a permutation of {size}")
    keys = round_keys(key)
    while True:
        index = _walk(index, a, b, keys)
        if index < size:
            return index


def permute_array(indices: np.ndarray, size: int, key: Key) -> np.ndarray:
    """`permute` of every element: [...] integers below `size` -> [...] int64."""
    a, b = (np.uint64(side) for side in sides(size))
    flat = np.asarray(indices).reshape(-1)
    if len(flat) and not 0 <= int(flat.min()) <= int(flat.max()) < size:
        raise IndexError(f"indices are outside a permutation of {size}")
    result = flat.astype(np.uint64)
    walking = np.arange(len(result))
    while len(walking):
        result[walking] = _walk_array(result[walking], a, b, round_keys(key))
        walking = walking[result[walking] >= size]
    return result.astype(np.int64).reshape(np.shape(indices))


def sides(size: int) -> tuple[int, int]:
    """The rectangle a x b >= size, as square as can be."""
    if not 1 <= size <= MAX_SIZE:
        raise ValueError(f"a permutation needs a size from 1 to 2**62, not {size}")
    a = math.isqrt(size - 1) + 1
    return a, -(-size // a)


@lru_cache(maxsize=1024)
def round_keys(key: Key) -> tuple[int, ...]:
    """The keys of the rounds, 32 bits each."""
    return tuple(random_bits(key, 0, 0, np.arange(ROUNDS)).tolist())


def _walk(index: int, a: int, b: int, keys: tuple[int, ...]) -> int:
    right, left = divmod(index, a)
    for i, round_key in enumerate(keys):
        modulus = b if i & 1 else a
        bits = right ^ round_key
        bits = ((bits ^ (bits >> 16)) * _MIX_1) & _LOW_32
        bits = ((bits ^ (bits >> 13)) * _MIX_2) & _LOW_32
        bits ^= bits >> 16
        left, right = right, (left + (bits * modulus >> 32)) % modulus
    return right * a + left


def _walk_array(index: np.ndarray, a: np.uint64, b: np.uint64, keys: tuple[int, ...]) -> np.ndarray:
    right, left = index // a, index % a
    low_32, mix_1, mix_2 = np.uint64(_LOW_32), np.uint64(_MIX_1), np.uint64(_MIX_2)
    s13, s16, s32 = np.uint64(13), np.uint64(16), np.uint64(32)
    for i, round_key in enumerate(keys):
        modulus = b if i & 1 else a
        bits = right ^ np.uint64(round_key)
        bits = ((bits ^ (bits >> s16)) * mix_1) & low_32
        bits = ((bits ^ (bits >> s13)) * mix_2) & low_32
        bits ^= bits >> s16
        left, right = right, (left + (bits * modulus >> s32)) % modulus
    return right * a + left
