"""How far a number stands out from the last ones, whatever a few of those were.

    deviations = (number - median) / (1.4826 * median of |each - median|)

For a normal distribution the divisor is its standard deviation; unlike that, up to half of the window can be anything
(Rousseeuw and Croux 1993, "Alternatives to the Median Absolute Deviation", section 1).

Invariant: a window is its numbers in order, so one that was written down and read again judges as it did.
"""

import statistics
from collections import deque
from collections.abc import Iterable

_NORMAL = 1.4826
_SMALLEST = 1e-3
"""Of the median: numbers that hardly differ are no ground to call one that differs a little more a spike."""


class Window:
    """The last `length` numbers, all finite."""

    def __init__(self, length: int, recent: Iterable[str] = ()) -> None:
        """`recent`: hexadecimal numbers, oldest first."""
        self._numbers = deque((float.fromhex(number) for number in recent), maxlen=length)

    @property
    def recent(self) -> list[str]:
        """The numbers, hexadecimal, oldest first."""
        return [number.hex() for number in self._numbers]

    def add(self, number: float) -> None:
        """The newest; the oldest leaves a full window."""
        self._numbers.append(number)

    def clear(self) -> None:
        """Forget all."""
        self._numbers.clear()

    def last(self, count: int) -> list[float]:
        """The newest `count`, or all there are."""
        return list(self._numbers)[-count:]


def deviations_above(number: float, usual: list[float]) -> float:
    """How many deviations `number` lies above the median of `usual`; negative below."""
    median = statistics.median(usual)
    spread = statistics.median(abs(each - median) for each in usual)
    scale = max(_NORMAL * spread, _SMALLEST * abs(median))
    if scale == 0.0:
        return 0.0 if number == median else float("inf") if number > median else float("-inf")
    return (number - median) / scale
