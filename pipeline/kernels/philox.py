"""The torch twin of `pipeline.corruption.philox`: the same bits, on the device the model runs on.

torch has no unsigned 64-bit multiply, so everything is int64: a product of two 32-bit numbers wraps, and its two 32-bit
halves are still exact after masking.
"""

import torch

from pipeline.corruption.philox import Key

_MULTIPLIER_0, _MULTIPLIER_1 = 0xD2511F53, 0xCD9E8D57
_WEYL_0, _WEYL_1 = 0x9E3779B9, 0xBB67AE85
_ROUNDS = 10
_LOW_32 = 0xFFFFFFFF
DRAWS_PER_BLOCK = 4


def probability_threshold(probability: float, bits: int = 32) -> int:
    """The threshold t with P(draw < t) = probability for draws of so many bits. ValueError outside [0, 1].

    The probability is rounded to a multiple of 2**-bits.
    """
    if not 0.0 <= probability <= 1.0:
        raise ValueError(f"a probability lies between 0 and 1, not {probability}")
    return round(probability * 2**bits)


def as_int32(word: int) -> int:
    """The same 32 bits as a signed number: an argument of a Triton kernel keeps one type whatever the value."""
    return word - 2**32 if word >= 2**31 else word


def random_bits(
    key: Key, positions: torch.Tensor, rows: torch.Tensor, num_draws: int, first_draw: int = 0
) -> torch.Tensor:
    """The bits of draws first_draw .. first_draw + num_draws of every (position, row).

    `positions` and `rows` are integer tensors of one shape [...]; returns int64 [..., num_draws] in 0 .. 2**32 - 1, the
    bits of `pipeline.corruption.philox.random_bits`. `first_draw` is a multiple of 4: a Philox block holds four draws.
    """
    assert first_draw % DRAWS_PER_BLOCK == 0, "draws start at a block"
    num_blocks = -(-num_draws // DRAWS_PER_BLOCK)
    blocks = torch.arange(num_blocks, device=rows.device) + first_draw // DRAWS_PER_BLOCK
    positions = positions.to(torch.int64)[..., None]
    counter = (rows.to(torch.int64)[..., None] & _LOW_32, blocks, positions & _LOW_32, (positions >> 32) & _LOW_32)
    words = _philox4x32(counter, key)
    bits = torch.stack(torch.broadcast_tensors(*words), dim=-1)
    return bits.flatten(-2)[..., :num_draws]


def draws_of_16_bits(key: Key, positions: torch.Tensor, rows: torch.Tensor, num_draws: int) -> torch.Tensor:
    """Eight draws to a block instead of four: int64 [..., num_draws] in 0 .. 2**16 - 1; shapes as in `random_bits`.

    Draw j is the low (j even) or high half of word j // 2, words being the draws of `random_bits`.
    """
    words = random_bits(key, positions, rows, -(-num_draws // 2))
    return torch.stack([words & 0xFFFF, words >> 16], dim=-1).flatten(-2)[..., :num_draws]


def _philox4x32(counter: tuple[torch.Tensor, ...], key: Key) -> tuple[torch.Tensor, ...]:
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(_ROUNDS):
        product_0, product_1 = c0 * _MULTIPLIER_0, c2 * _MULTIPLIER_1
        c0, c1, c2, c3 = (
            ((product_1 >> 32) & _LOW_32) ^ c1 ^ k0,
            product_1 & _LOW_32,
            ((product_0 >> 32) & _LOW_32) ^ c3 ^ k1,
            product_0 & _LOW_32,
        )
        k0, k1 = (k0 + _WEYL_0) & _LOW_32, (k1 + _WEYL_1) & _LOW_32
    return c0, c1, c2, c3
