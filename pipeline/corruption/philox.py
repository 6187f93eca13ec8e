"""Philox4x32-10: random bits as a pure function of (key, counter). Nothing here has state.

    key     = first 8 bytes of SHA-256("SEED/STREAM NAME"), two little-endian uint32 words
    counter = (row within the sample's view, draw // 4, position low, position high)

A *draw* numbers what is drawn for a row; draw d is word d % 4 of the block at d // 4, so four draws cost one block.
This NumPy code is the specification; the C++ and Triton kernels give the same bits.

Source: Salmon et al. 2011, "Parallel Random Numbers: As Easy as 1, 2, 3" (Random123, published test vectors).
"""

import hashlib
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

UInt32Array = npt.NDArray[np.uint32]

_MULTIPLIER_0, _MULTIPLIER_1 = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
_WEYL_0, _WEYL_1 = 0x9E3779B9, 0xBB67AE85
_ROUNDS = 10
_LOW_32 = np.uint64(0xFFFFFFFF)
_SHIFT_32 = np.uint64(32)


class Key(NamedTuple):
    """The two 32-bit key words of one random stream."""

    low: int
    high: int


def stream_key(seed: int, name: str) -> Key:
    """The key of the stream `name` (a purpose such as "corruption", or a module path) in the run with `seed`."""
    digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
    return Key(int.from_bytes(digest[:4], "little"), int.from_bytes(digest[4:8], "little"))


def philox4x32(counter: UInt32Array, key: Key) -> UInt32Array:
    """Ten rounds of Philox over `counter` [..., 4] uint32; returns [..., 4] uint32."""
    c0, c1, c2, c3 = (counter[..., i].astype(np.uint64) for i in range(4))
    k0, k1 = key
    for _ in range(_ROUNDS):
        product_0, product_1 = _MULTIPLIER_0 * c0, _MULTIPLIER_1 * c2
        c0, c1, c2, c3 = (
            (product_1 >> _SHIFT_32) ^ c1 ^ np.uint64(k0),
            product_1 & _LOW_32,
            (product_0 >> _SHIFT_32) ^ c3 ^ np.uint64(k1),
            product_0 & _LOW_32,
        )
        k0, k1 = (k0 + _WEYL_0) & 0xFFFFFFFF, (k1 + _WEYL_1) & 0xFFFFFFFF
    return np.stack([c0, c1, c2, c3], axis=-1).astype(np.uint32)


def random_bits(key: Key, position: npt.ArrayLike, row: npt.ArrayLike, draw: npt.ArrayLike) -> UInt32Array:
    """32 uniform bits for each (position, row, draw), broadcast together; returns uint32 of the broadcast shape.

    `position` counts samples of the run (up to 64 bits), `row` is the row within the sample's view.
    """
    position, row, draw = np.broadcast_arrays(
        np.asarray(position, dtype=np.uint64), np.asarray(row, dtype=np.uint32), np.asarray(draw, dtype=np.uint32)
    )
    counter = np.stack(
        [row, draw >> np.uint32(2), (position & _LOW_32).astype(np.uint32), (position >> _SHIFT_32).astype(np.uint32)],
        axis=-1,
    )
    block = philox4x32(counter, key)
    return np.take_along_axis(block, (draw & np.uint32(3)).astype(np.int64)[..., None], axis=-1)[..., 0]
