"""The results of evaluations as tables: with intervals, and beside each other with what their difference is worth."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.evaluation.intervals import bootstrap_interval

_ASKED = ("dataset", "split", "samples", "labels", "gaps", "hidden_tokens", "queries")
"""Settings of a probe that say which items it asked: values are paired only where they are the same."""


@dataclass(frozen=True)
class Cell:
    """A figure, its interval, and how it differs from the first run's: "higher", "lower", or "" where it cannot be
    told apart; `why` says by what."""

    value: str
    interval: str = ""
    differs: str = ""
    why: str = ""


@dataclass(frozen=True)
class Row:
    """A metric of a probe, for each evaluation; None where one lacks it."""

    probe: str
    metric: str
    cells: Sequence[Cell | None]


def evaluation_table(evaluations: Sequence[Mapping[str, Any] | None]) -> list[Row]:
    """The metrics of several evaluations (None: a run that has none); the others are compared with the first."""
    told = [evaluation["probes"] if evaluation else {} for evaluation in evaluations]
    found = [_figures(probes) for probes in told]
    rows = []
    for probe, metric in dict.fromkeys(name for figures in found for name in figures):
        each = [figures.get((probe, metric)) for figures in found]
        rows.append(Row(probe, metric, [_cell(figure, each[0], number) for number, figure in enumerate(each)]))
    return rows


def group_tables(evaluation: Mapping[str, Any]) -> Iterator[tuple[str, str, list[str], list[tuple[str, list[str]]]]]:
    """Probe, kind (source, language, layer), the metrics' names, and the figures of each group."""
    for probe, found in evaluation["probes"].items():
        for kind, groups in (found.get("groups") or {}).items():
            names = list(dict.fromkeys(name for metrics in groups.values() for name in metrics))
            rows = [(group, [_value(metrics.get(name)) for name in names]) for group, metrics in groups.items()]
            if rows:
                yield probe, kind, names, rows


def _figures(probes: Mapping[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    """Every metric by probe and name; `values` and `asked` are with the first of a probe, whose items they are of."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for probe, content in probes.items():
        for number, (name, value) in enumerate((content.get("metrics") or {}).items()):
            figure = _figure(value)
            if figure is not None:
                values = content.get("values") if number == 0 else None
                found[probe, name] = {**figure, "values": values, "asked": _asked(content)}
    return found


def _asked(probe: Mapping[str, Any]) -> list[Any]:
    settings = probe.get("settings") or {}
    return [settings.get(name) for name in _ASKED]


def _value(figure: Any) -> str:
    found = _figure(figure)
    return f"{found['value']:.4g}" if found else "-"


def _figure(value: Any) -> dict[str, Any] | None:
    """A metric as {"value": ...}; a bare number is one without an interval."""
    if isinstance(value, int | float):
        return {"value": value}
    return value if isinstance(value, dict) and isinstance(value.get("value"), int | float) else None


def _cell(figure: dict[str, Any] | None, first: dict[str, Any] | None, number: int) -> Cell | None:
    if figure is None:
        return None
    value, interval = f"{figure['value']:.4g}", ""
    if _has_interval(figure):
        interval = f"{figure['low']:.4g} to {figure['high']:.4g}"
    if number == 0 or first is None:
        return Cell(value, interval)
    return Cell(value, interval, *_difference(figure, first))


def _difference(figure: dict[str, Any], first: dict[str, Any]) -> tuple[str, str]:
    """Whether it differs from the first run's, and by what that is told: the same items, else the two intervals."""
    items, firsts = figure.get("values"), first.get("values")
    if items and firsts and len(items) == len(firsts) and figure["asked"] == first["asked"]:
        between = bootstrap_interval([a - b for a, b in zip(items, firsts, strict=True)])
        told = f"difference {between.mean:+.3g} ({between.low:+.3g} to {between.high:+.3g}), paired bootstrap"
        return _direction(between.low, between.high), told
    if _has_interval(figure) and _has_interval(first):
        direction = _direction(figure["low"] - first["high"], figure["high"] - first["low"])
        return direction, "the intervals do not overlap" if direction else "the intervals overlap"
    return "", ""


def _direction(low: float | None, high: float | None) -> str:
    if low is not None and low > 0:
        return "higher"
    return "lower" if high is not None and high < 0 else ""


def _has_interval(figure: Mapping[str, Any]) -> bool:
    return all(isinstance(figure.get(end), int | float) for end in ("low", "high"))
