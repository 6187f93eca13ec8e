"""Base-2 logarithms of ratios of whole numbers, in eighths, rounded down: the same on every machine.

Floating-point logarithms differ between machines in the last bit. They decide only where no such difference could
change the result; next to a whole eighth, integer arithmetic does: floor(8 log2(n / d)) is the largest k with
2^k d^8 <= n^8.
"""

from collections.abc import Sequence

import numpy as np

STEPS = 8  # per factor of two
_MARGIN = 1e-6  # far above what a sum of four logarithms below 2^63 can be wrong by, 1e-12 eighths


def log2_eighths(numerators: Sequence[np.ndarray], denominators: Sequence[np.ndarray]) -> np.ndarray:
    """floor(8 log2(product of numerators / product of denominators)): int64, of whole numbers from 1 to 2^63 - 1."""
    total = sum(np.log2(part) for part in numerators) - sum(np.log2(part) for part in denominators)
    eighths = np.atleast_1d(np.asarray(total) * STEPS)
    result = np.floor(eighths).astype(np.int64)
    for place in np.flatnonzero(np.abs(eighths - np.rint(eighths)) < _MARGIN).tolist():
        result[place] = _exact(_product(numerators, place), _product(denominators, place))
    return result


def _product(parts: Sequence[np.ndarray], place: int) -> int:
    product = 1
    for part in parts:
        product *= int(part if np.ndim(part) == 0 else part[place])
    return product


def _exact(numerator: int, denominator: int) -> int:
    above, below = numerator**STEPS, denominator**STEPS
    exponent = above.bit_length() - below.bit_length()  # 2^(exponent - 1) < above / below < 2^(exponent + 1)
    fits = below << exponent <= above if exponent >= 0 else below <= above << -exponent
    return exponent if fits else exponent - 1
