"""What torch has no operator for, in Triton: random bits, and the two choices that go from unit to unit.

Everything is integers, so the results are those of NumPy and C++ to the last bit.
"""

from typing import Any

import torch
import triton
import triton.language as tl

from pipeline.corruption.philox import Key
from pipeline.kernels.fusion import FUSED
from pipeline.kernels.philox import as_int32

PHILOX_ROUNDS = tl.constexpr(10)
_BLOCKS = 128  # Philox blocks of a program


def unit_bits(
    key: Key, positions_B: torch.Tensor, sample_offsets: torch.Tensor, num_units: int, purposes: list[int], longest: int
) -> torch.Tensor:
    """int64 [len(purposes), T]: the 32 bits that every raw token draws for each purpose (sampling.unit_bits).

    Purposes are below 16. `sample_offsets` [B + 1] are the samples' boundaries among the T = `num_units` tokens, and
    `longest` bounds a sample.
    """
    bits = torch.empty((len(purposes), num_units), dtype=torch.int64, device=positions_B.device)
    grid = (len(positions_B), triton.cdiv(longest, 4 * _BLOCKS), len(purposes))
    if num_units:
        low, high = (as_int32(word) for word in key)
        packed = sum(purpose << (4 * row) for row, purpose in enumerate(purposes))
        _draw[grid](packed, positions_B, sample_offsets, low, high, num_units, bits, BLOCKS=_BLOCKS, **FUSED)
    return bits


@triton.jit
def _draw(purposes, positions_B, sample_offsets, key_low, key_high, num_units, bits, BLOCKS: tl.constexpr):
    sample, row = tl.program_id(0), tl.program_id(2)
    purpose = (purposes >> (4 * row)) & 15  # four bits each: a tensor of them would have to be sent
    block = tl.program_id(1) * BLOCKS + tl.arange(0, BLOCKS)
    position = tl.load(positions_B + sample)
    start, stop = tl.load(sample_offsets + sample), tl.load(sample_offsets + sample + 1)
    zero = tl.zeros([BLOCKS], tl.uint32)
    w0, w1, w2, w3 = tl.philox_impl(
        block.to(tl.uint32),
        zero + purpose.to(tl.uint32),
        zero + (position & 0xFFFFFFFF).to(tl.uint32),
        zero + (position >> 32).to(tl.uint32),
        key_low.to(tl.uint32, bitcast=True),
        key_high.to(tl.uint32, bitcast=True),
        PHILOX_ROUNDS,
    )
    unit = start + 4 * block
    out = bits + row.to(tl.int64) * num_units + unit
    tl.store(out, w0.to(tl.int64), mask=unit < stop)
    tl.store(out + 1, w1.to(tl.int64), mask=unit + 1 < stop)
    tl.store(out + 2, w2.to(tl.int64), mask=unit + 2 < stop)
    tl.store(out + 3, w3.to(tl.int64), mask=unit + 3 < stop)


@triton.jit
def join_units(offsets, counts, starts, lengths, begins):
    """Runs of units from the left of each piece: run by run `lengths[its first token]` units; marks where they begin.

    A program is a piece; its units' first tokens are starts[offsets[piece]:][:counts[piece]].
    """
    piece = tl.program_id(0)
    first, count = tl.load(offsets + piece), tl.load(counts + piece)
    unit = first - first
    while unit < count:
        start = tl.load(starts + first + unit)
        tl.store(begins + start, 1)
        unit += tl.load(lengths + start)


@triton.jit
def fit_units(offsets, counts, room, order, sizes, chosen):
    """Units in `order`, each that still fits into what is left of the piece's `room`; marks them at their first tokens.

    A program is a piece; its units' first tokens, in the order, are order[offsets[piece]:][:counts[piece]].
    """
    piece = tl.program_id(0)
    first, count, left = tl.load(offsets + piece), tl.load(counts + piece), tl.load(room + piece)
    rank = first - first
    while (rank < count) & (left > 0):
        unit = tl.load(order + first + rank)
        size = tl.load(sizes + unit)
        tl.store(chosen + unit, 1, mask=size <= left)
        left -= tl.where(size <= left, size, 0)
        rank += 1


def for_each_piece(kernel: Any, offsets: torch.Tensor, *arguments: torch.Tensor) -> None:
    """Run `kernel` (join_units or fit_units) with one program for each piece of `offsets` [P + 1]."""
    if len(offsets) > 1:
        kernel[(len(offsets) - 1,)](offsets, *arguments, num_warps=1, **FUSED)
