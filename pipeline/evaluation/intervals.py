"""How sure a figure is: the interval of a mean over seeds, and of a mean over test items.

Two different questions. Over seeds: would another first set of weights and another order of the data say the same? Over
items: would other queries of the same kind?
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt
import scipy.stats

_RESAMPLES, _RESAMPLES_AT_ONCE = 2000, 100


@dataclass(frozen=True)
class Interval:
    """A mean and its two-sided interval; `low` and `high` are None where one value says nothing of others."""

    mean: float
    low: float | None
    high: float | None

    def as_json(self) -> dict[str, float | None]:
        """Plain values."""
        return asdict(self)


def student_interval(values: Sequence[float], confidence: float = 0.95) -> Interval:
    """The mean of independent runs with Student's interval; of one run, the value alone."""
    mean = math.fsum(values) / len(values)
    if len(values) == 1:
        return Interval(mean, None, None)
    spread = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1))
    half = float(scipy.stats.t.ppf((1 + confidence) / 2, len(values) - 1)) * spread / math.sqrt(len(values))
    return Interval(mean, mean - half, mean + half)


def bootstrap_interval(values: npt.ArrayLike, confidence: float = 0.95, seed: int = 0) -> Interval:
    """The mean of items [n] with the percentile interval of 2,000 resamples (Efron and Tibshirani 1993, section 13.3).

    For a difference of two systems give the differences of each item: the resamples are then paired.
    """
    items = np.asarray(values, np.float64)
    rng = np.random.Generator(np.random.Philox(key=seed))
    means = [
        items[rng.integers(0, len(items), (_RESAMPLES_AT_ONCE, len(items)))].mean(1)
        for _ in range(_RESAMPLES // _RESAMPLES_AT_ONCE)
    ]
    low, high = np.quantile(np.concatenate(means), [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(float(items.mean()), float(low), float(high))
