"""What a probe found: figures with their intervals, by group too, and that of each query where tests pair them."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.evaluation.intervals import bootstrap_interval

Metrics = Mapping[str, "Figure"]


@dataclass(frozen=True)
class Figure:
    """A value with the interval of its mean over queries, where it is one; `hex` where bits are compared."""

    value: float
    low: float | None = None
    high: float | None = None
    hex: str | None = None

    @classmethod
    def mean(cls, values: npt.ArrayLike) -> "Figure":
        """The mean of a figure per query [Q] with its bootstrap interval."""
        found = bootstrap_interval(np.asarray(values, np.float64))
        return cls(found.mean, found.low, found.high)

    @classmethod
    def exact(cls, value: float) -> "Figure":
        """A value whose bits are compared with another's."""
        return cls(value, hex=float(value).hex())

    def as_json(self) -> dict[str, Any]:
        """Plain values; without the hex digits that nobody compares."""
        return {name: value for name, value in asdict(self).items() if name != "hex" or value is not None}


@dataclass(frozen=True)
class Figures:
    """The result of one probe; the first metric is what it is about."""

    metrics: Metrics
    groups: Mapping[str, Mapping[str, Metrics]] = field(default_factory=dict)
    """{kind: {name: metrics}}: of each source, layer, or system beside it."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    values: Sequence[float] = ()
    """The first metric of each query, in an order that other models are asked in too."""
    samples: Sequence[Mapping[str, Any]] = ()
    """A few for people to read."""

    def as_json(self) -> dict[str, Any]:
        """As it stands in evaluation/STEP.json."""
        return {
            "metrics": _plain(self.metrics),
            "groups": {
                kind: {name: _plain(metrics) for name, metrics in groups.items()}
                for kind, groups in self.groups.items()
            },
            "settings": dict(self.settings),
            "values": [float(value) for value in self.values],
            **({"samples": [dict(sample) for sample in self.samples]} if self.samples else {}),
        }


def _plain(metrics: Metrics) -> dict[str, Any]:
    return {name: figure.as_json() for name, figure in metrics.items()}
