"""Line charts as SVG within a page: drawn by matplotlib, coloured by the page.

Invariant: colours are the page's own variables, so that a chart is light or dark as the page is; text stays text; equal
figures give equal bytes.
"""

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from markupsafe import Markup, escape

from data_prep.pages import words

Numbers = Any  # a sequence of floats, or an array of them
Scale = Literal["free", "zero", "share"]
"""Of the y axis: as the lines need it, from 0 on, or from 0 on in per cent."""
_PIXELS_PER_INCH = 72
_MARGINS = {"left": 50, "right": 12, "top": 8, "bottom": 36}  # pixels
_WIDTHS = {"line": 1.8, "faint": 1.0, "points": 1.2}
_DASHES = ("-", (0, (5, 2)), (0, (1.5, 1.5)))
# What matplotlib is given, and what the page gets instead.
_INK, _LINE = "#0f0f01", "#0f0f02"
_COLOURS = tuple(f"#0f0f1{number}" for number in range(7))
_VARIABLES = {_INK: "--soft", _LINE: "--line"} | {colour: f"--series{n}" for n, colour in enumerate(_COLOURS)}
NUM_COLOURS = len(_COLOURS)


@dataclass(frozen=True)
class Line:
    """One line of a chart; `colour` is a number, those past the last colour are dashed."""

    x: Numbers
    y: Numbers
    colour: int = 0
    kind: Literal["line", "faint", "points"] = "line"


@dataclass(frozen=True)
class Frame:
    """What stands around the lines. `name` is unique on the page; `marks` are places on the x axis."""

    name: str
    title: str
    x_label: str
    width: int = 480
    height: int = 220
    marks: Sequence[float] = ()
    scale: Scale = "free"


def line_chart(lines: Sequence[Line], frame: Frame) -> Markup:
    """The chart as an `svg` element, its title for those who cannot see it."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    width, height = frame.width, frame.height
    settings: Any = {
        "svg.fonttype": "none", "svg.hashsalt": frame.name, "font.size": 11,
        "axes.edgecolor": _LINE, "grid.color": _LINE,
        "xtick.color": _LINE, "ytick.color": _LINE, "xtick.labelcolor": _INK, "ytick.labelcolor": _INK,
        "axes.labelcolor": _INK, "axes.spines.top": False, "axes.spines.right": False, "path.simplify": False,
    }  # fmt: skip
    with mpl.rc_context(settings):
        figure = Figure(figsize=(width / _PIXELS_PER_INCH, height / _PIXELS_PER_INCH), dpi=_PIXELS_PER_INCH)
        figure.subplots_adjust(
            left=_MARGINS["left"] / width, right=1 - _MARGINS["right"] / width,
            top=1 - _MARGINS["top"] / height, bottom=_MARGINS["bottom"] / height,
        )  # fmt: skip
        axes = figure.add_subplot(xlabel=frame.x_label)
        _set_scales(axes, frame)
        for line in lines:
            _draw(axes, line)
        _set_limits(axes, frame)
        for mark in frame.marks:
            axes.axvline(mark, color=_INK, linewidth=1, linestyle=(0, (2, 2)))
        file = io.StringIO()
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None})
    return _for_page(file.getvalue(), frame)


def _set_scales(axes: Any, frame: Frame) -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator, PercentFormatter

    axes.grid(axis="y", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.xaxis.set_major_locator(MaxNLocator(max(3, frame.width // 90), integer=frame.x_label in ("step", "layer")))
    axes.xaxis.set_major_formatter(FuncFormatter(_number))
    axes.yaxis.set_major_locator(MaxNLocator(max(3, frame.height // 45)))
    axes.yaxis.set_major_formatter(PercentFormatter(1.0) if frame.scale == "share" else FuncFormatter(_number))
    axes.tick_params(length=3)


def _set_limits(axes: Any, frame: Frame) -> None:
    """After the lines are drawn: they decide where the axis ends."""
    if frame.scale != "free":
        axes.set_ylim(bottom=0.0, top=max(axes.get_ylim()[1], 1e-3))


def _number(value: float, _: int | None = None) -> str:
    """`0.003`, `5`, `2,500`, `15 k`, `3 M`, `2 P`: powers of ten that a reader knows."""
    for size, unit in ((1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= size:
            return f"{value / (1e3 if unit == 'k' else size):g} {unit}"
    return f"{value:,g}"


def _draw(axes: Any, line: Line) -> None:
    y = np.asarray(line.y, np.float64)
    axes.plot(
        np.asarray(line.x, np.float64),
        np.where(np.isfinite(y), y, np.nan),
        color=_COLOURS[line.colour % NUM_COLOURS],
        linestyle=_DASHES[line.colour // NUM_COLOURS % len(_DASHES)],
        linewidth=_WIDTHS[line.kind],
        alpha=0.35 if line.kind == "faint" else 1.0,
        marker="o" if line.kind == "points" or len(y) == 1 else "",
        markersize=4,
    )


def _for_page(svg: str, frame: Frame) -> Markup:
    """matplotlib's file as an element: without what only files need, without needless digits and names."""
    body = svg[svg.index("<svg") :]
    body = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->", "", body, flags=re.DOTALL)
    body = re.sub(r"font-family: [^;\"]*; ?", "", body)
    body = re.sub(r' id="(?:figure|axes|patch|matplotlib\.axis|[xy]tick|line2d|text|LineCollection)_\d+"', "", body)
    body = re.sub(r'(?<= d=")[^"]+', lambda path: re.sub(r"(\d\.\d)\d+|\n", r"\1 ", path[0]).replace(" .", "."), body)
    for colour, variable in _VARIABLES.items():
        body = body.replace(colour, f"var({variable})")
    label = words.shown(frame.title)
    opening = f'<svg viewBox="0 0 {frame.width} {frame.height}" role="img" aria-label="{escape(label)}">'
    body = re.sub(r"<svg[^>]*>", lambda _: opening, body, count=1).replace("xlink:href", "href")
    return Markup(re.sub(r"\s*\n\s*", "\n", body))
