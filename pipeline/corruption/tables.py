"""Integer tables that random lengths and weighted choices are read from, and the look-ups that read them.

Every table is computed exactly (rational numbers, or decimals rounded once), so it is the same on every machine; a
kernel is given the table and never evaluates a logarithm or an exponential itself.

A length table holds the cumulative distribution in units of 2**-32: entry k is floor(2**32 * P(length <= k)). It ends
where 32 bits cannot express the rest of the tail.
"""

import functools
from decimal import ROUND_HALF_EVEN, Decimal, localcontext
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from pipeline.corruption.philox import UInt32Array
from pipeline.corruption.sampling import Int64Array

_ONE = 1 << 32
_PRECISION = 60  # decimal digits, far beyond the 32 bits kept
_LOG_SEGMENTS_BITS = 10
_LOG_FRACTION_BITS = 26


@functools.cache
def poisson_table(mean: float) -> Int64Array:
    """Cumulative Poisson(`mean`) from length 0 on, int64 in [0, 2**32]. BART draws span lengths from Poisson(3)."""
    if not 0.0 < mean <= 100.0:
        raise ValueError(f"Poisson mean {mean} is outside (0, 100]")
    with localcontext() as context:
        context.prec = _PRECISION
        rate = Decimal(str(mean))
        term = (-rate).exp()
        entries: list[int] = []
        total, length = Decimal(0), 0
        while not entries or _ONE - entries[-1] > 1:
            total += term
            entries.append(int(total * _ONE))
            length += 1
            term = term * rate / length
    return _frozen(entries)


@functools.cache
def geometric_table(success: float, longest: int) -> Int64Array:
    """Cumulative geometric length in 1..`longest`, cut there and rescaled, entry 0 being length 0 (never drawn).

    P(length = k) is proportional to success * (1 - success)**(k - 1); SpanBERT uses success 0.2, longest 10
    (Joshi et al. 2020, section 3.1).
    """
    if not 0.0 < success <= 1.0 or longest < 1:
        raise ValueError(f"geometric length needs 0 < success <= 1 and longest >= 1, not {success} and {longest}")
    failure = 1 - Fraction(str(success))
    whole = 1 - failure**longest
    return _frozen([int(_ONE * (1 - failure**length) / whole) for length in range(longest + 1)])


def look_up_length(bits: UInt32Array, table: Int64Array) -> Int64Array:
    """The length each of `bits` falls on in a cumulative `table`; same shape, int64."""
    lengths = np.searchsorted(table, bits.astype(np.int64), side="right")
    return np.minimum(lengths, len(table) - 1)


def weighted_keys(bits: UInt32Array, weights: npt.NDArray[np.uint8]) -> UInt32Array:
    """Keys whose smallest k are a weighted sample without replacement: -log2(u) / weight in fixed point.

    `bits` and `weights` [U]; returns [U] uint32. A unit of weight 0 gets the largest key: it comes after all others.
    Source: Efraimidis and Spirakis 2006, "Weighted random sampling with a reservoir".
    """
    scaled = (negative_log2(bits).astype(np.uint64) << np.uint64(1)) - np.uint64(2)
    keys = scaled // np.maximum(weights, 1).astype(np.uint64)
    return np.where(weights == 0, np.uint64(_ONE - 1), keys).astype(np.uint32)


def negative_log2(bits: UInt32Array) -> UInt32Array:
    """-log2((bits + 1) / 2**32) with 26 fractional bits, at least 1 unit; linear between 2**10 points per octave."""
    value = bits.astype(np.uint64) + np.uint64(1)
    exponent = (np.frexp(value.astype(np.float64))[1] - 1).astype(np.uint64)  # exact: value fits 53 bits
    mantissa = (value << (np.uint64(32) - exponent)) & np.uint64(_ONE - 1)
    segment = (mantissa >> np.uint64(32 - _LOG_SEGMENTS_BITS)).astype(np.int64)
    fraction = mantissa & np.uint64((1 << (32 - _LOG_SEGMENTS_BITS)) - 1)
    table = log2_table()
    step = (table[segment + 1] - table[segment]).astype(np.uint64)
    log2_mantissa = table[segment].astype(np.uint64) + ((step * fraction) >> np.uint64(32 - _LOG_SEGMENTS_BITS))
    log2_value = (exponent << np.uint64(_LOG_FRACTION_BITS)) + log2_mantissa
    return np.maximum(np.uint64(32 << _LOG_FRACTION_BITS) - log2_value, 1).astype(np.uint32)


@functools.cache
def log2_table() -> Int64Array:
    """round(2**26 * log2(1 + i / 2**10)) for i in 0..2**10."""
    segments = 1 << _LOG_SEGMENTS_BITS
    with localcontext() as context:
        context.prec = _PRECISION
        scale = Decimal(1 << _LOG_FRACTION_BITS) / Decimal(2).ln()
        values = [(1 + Decimal(i) / segments).ln() * scale for i in range(segments + 1)]
        return _frozen([int(value.to_integral_value(ROUND_HALF_EVEN)) for value in values])


def _frozen(entries: list[int]) -> Int64Array:
    table = np.array(entries, np.int64)
    table.flags.writeable = False
    return table
