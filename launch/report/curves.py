"""From the figures of runs to charts, one for each x axis that the page offers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from markupsafe import Markup

from data_prep.pages.charts import Frame, Line, Scale, line_chart
from launch.report.run import AXES, Numbers, Run

AXIS_NAMES = {"step": "steps", "tokens": "tokens", "flops": "FLOPs", "time": "time"}
NARROW, WIDE = 440, 990  # pixels
_SMOOTHED_FROM, _MOST_POINTS = 60, 500
_TIME_UNITS = (("days", 2 * 86400, 86400), ("hours", 2 * 3600, 3600), ("minutes", 120, 60), ("seconds", 0, 1))


@dataclass(frozen=True)
class Curve:
    """A figure of a run over its steps. `x` has an array for each axis that the run tells."""

    name: str
    x: Mapping[str, Numbers]
    y: Numbers
    colour: int = 0
    points: bool = False
    pale: bool = True
    """Whether single steps are shown behind their running mean."""


@dataclass(frozen=True)
class Chart:
    """What a page shows of some curves: an SVG for each axis, in one or two widths. `legend`: names and colours."""

    title: str
    note: str
    legend: Sequence[tuple[str, int]]
    drawings: Sequence[tuple[str, str, Markup]]
    """(axis, "narrow", "wide" or "any", SVG)"""


def common_axes(runs: Sequence[Run]) -> list[str]:
    """The axes that all runs with steps tell."""
    told = [run.axes for run in runs if run.trained]
    return [axis for axis in AXES if all(axis in axes for axes in told)] if told else []


def trained_curve(run: Run, field: str, name: str, colour: int = 0) -> Curve:
    """A field of the steps of a run."""
    return Curve(name, run.axes, run.values(field), colour)


def heldout_curve(run: Run, name: str, colour: int, term: str | None = None) -> Curve:
    """The held-out loss, or one of its terms, where it was taken."""
    told = [record for record in run.heldout if term is None or term in record["heldout_terms"]]
    y = [record["heldout_loss"] if term is None else record["heldout_terms"][term] for record in told]
    return Curve(name, _places(run, told), np.array(y, np.float64), colour, points=True)


def recorded_curve(run: Run, part: str, key: str, name: str, colour: int) -> Curve:
    """Figure `key` of `part` (terms, views), of the steps that tell it."""
    told = [record for record in run.trained if key in record.get(part, {})]
    return Curve(name, _places(run, told), np.array([record[part][key] for record in told], np.float64), colour)


def draw(
    title: str, curves: Sequence[Curve], axes: Sequence[str], note: str = "", scale: Scale = "free", wide: bool = False,
    marks: Mapping[str, Numbers] | None = None,
) -> Chart | None:  # fmt: skip
    """The chart of these curves by each of the axes; None where none of them has a finite value."""
    shown = [curve for curve in curves if np.isfinite(curve.y).any()]
    if not shown:
        return None
    drawings = []
    for axis in axes:
        label, unit = _unit(axis, shown)
        lines = [line for curve in shown for line in _lines(curve, axis, unit)]
        at = tuple((marks[axis] / unit).tolist()) if marks else ()
        frame = Frame(f"{title} {axis}", f"{title} by {label}", label, marks=at, scale=scale)
        sizes = {"narrow": (NARROW, 260), "wide": (WIDE, 320)} if wide else {"any": (NARROW, 210)}
        for size, (width, height) in sizes.items():
            sized = replace(frame, name=f"{frame.name} {size}", width=width, height=height)
            drawings.append((axis, size, line_chart(lines, sized)))
    return Chart(title, note, [(curve.name, curve.colour) for curve in shown], drawings)


def _places(run: Run, records: Sequence[dict[str, Any]]) -> dict[str, Numbers]:
    steps = [record["step"] for record in records]
    return {axis: run.at(axis, steps) for axis in run.axes}


def _unit(axis: str, curves: Sequence[Curve]) -> tuple[str, float]:
    """The axis' label, and what one unit of it is."""
    if axis != "time":
        return {"step": "step", "tokens": "tokens", "flops": "FLOPs"}[axis], 1.0
    longest = max(float(curve.x["time"].max(initial=0.0)) for curve in curves)
    return next((name, float(seconds)) for name, least, seconds in _TIME_UNITS if longest >= least)


def _lines(curve: Curve, axis: str, unit: float) -> list[Line]:
    x = curve.x[axis] / unit
    if curve.points:
        return [Line(x, curve.y, curve.colour, "points")]
    if len(x) < _SMOOTHED_FROM:
        return [Line(x, curve.y, curve.colour)]
    mean = smoothed(curve.y, max(2, len(x) // 60))
    every = max(1, len(x) // _MOST_POINTS)
    kept = np.unique(np.append(np.arange(0, len(x), every), len(x) - 1))
    strong = Line(x[kept], mean[kept], curve.colour)
    raw = extremes(curve.y, _MOST_POINTS)
    return [*([Line(x[raw], curve.y[raw], curve.colour, "faint")] if curve.pale else []), strong]


def smoothed(y: Numbers, reach: int) -> Numbers:
    """The mean of each value and of `reach` values on either side, as far as there are finite ones."""
    finite = np.isfinite(y)
    sums = np.concatenate([[0.0], np.where(finite, y, 0.0).cumsum()])
    counts = np.concatenate([[0], finite.cumsum()])
    first = np.maximum(np.arange(len(y)) - reach, 0)
    last = np.minimum(np.arange(len(y)) + reach + 1, len(y))
    number = counts[last] - counts[first]
    return np.where(number > 0, (sums[last] - sums[first]) / np.maximum(number, 1), np.nan)


def extremes(y: Numbers, most: int) -> Numbers:
    """Indices of at most about `most` values, so that no peak is lost: the least and the largest of equal parts."""
    if len(y) <= most:
        return np.arange(len(y))
    found = []
    for part in np.array_split(np.arange(len(y)), most // 2):
        values = np.where(np.isfinite(y[part]), y[part], 0.0)
        found += [part[values.argmin()], part[values.argmax()]]
    return np.unique(found)
