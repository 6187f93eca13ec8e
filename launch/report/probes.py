"""Charts of what probes found: over training, and over the layers of the encoder."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from data_prep.pages.charts import Frame, Line, line_chart
from launch.report.curves import NARROW, Chart, Curve, draw
from launch.report.run import Run

BY_LAYER = "layer"
_HEIGHT = 210
_DRAWN_ELSEWHERE = ("heldout",)


def probe_charts(numbered: Sequence[tuple[int, str, Run]], axes: Sequence[str]) -> Iterator[Chart]:
    """What each probe is about, its first metric, of the runs (colour, name, run) that were asked more than once."""
    asked = {(probe, metric) for _, _, run in numbered for probe, metric in _first_metrics(run)}
    for probe, metric in sorted(asked):
        curves = [_curve(run, probe, metric, name, colour) for colour, name, run in numbered]
        chart = draw(f"{probe}: {metric}", [curve for curve in curves if len(curve.y) > 1], axes)
        if chart is not None:
            yield chart


def layer_charts(evaluation: Mapping[str, Any]) -> Iterator[Chart]:
    """Each metric that a probe told of every layer."""
    for probe, found in evaluation["probes"].items():
        layers = (found.get("groups") or {}).get(BY_LAYER, {})
        for metric in dict.fromkeys(name for metrics in layers.values() for name in metrics):
            told = {int(layer): value(metrics.get(metric)) for layer, metrics in layers.items()}
            title = f"{probe}: {metric}"
            frame = Frame(f"{title} {evaluation['step']}", f"{title} by layer", BY_LAYER, NARROW, _HEIGHT)
            line = Line(sorted(told), [told[layer] for layer in sorted(told)], 0, "points")
            yield Chart(title, "", [(metric, 0)], [(BY_LAYER, "any", line_chart([line], frame))])


def value(figure: Any) -> float:
    """The value of a metric as it stands in results; nan where there is none."""
    found = figure.get("value") if isinstance(figure, Mapping) else figure
    return float(found) if isinstance(found, int | float) else float("nan")


def _first_metrics(run: Run) -> Iterator[tuple[str, str]]:
    for evaluation in run.evaluations:
        for probe, found in evaluation["probes"].items():
            if found.get("metrics") and probe not in _DRAWN_ELSEWHERE:
                yield probe, next(iter(found["metrics"]))


def _curve(run: Run, probe: str, metric: str, name: str, colour: int) -> Curve:
    """At the steps whose results tell it."""
    told = {
        found["step"]: value((found["probes"].get(probe) or {}).get("metrics", {}).get(metric))
        for found in run.evaluations
    }
    steps = [step for step, figure in told.items() if np.isfinite(figure)]
    places = {axis: run.at(axis, steps) for axis in run.axes}
    return Curve(name, places, np.array([told[step] for step in steps], np.float64), colour, points=True)
