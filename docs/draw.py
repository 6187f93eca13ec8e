"""Draws the documentation's pictures.

    python docs/draw.py flow
    python docs/draw.py report RUN
    python docs/draw.py patterns

Needs the `dev` extra, and chromium for the report: its picture is the beginning of the page that RUN has. Those of
attention patterns (docs/kernels.md) are drawn from the patterns themselves, as SVG: the same bytes on every machine.
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
import torch

from pipeline.corruption.philox import stream_key
from pipeline.kernels.attention import IntervalPattern, Keep

IMAGES = Path(__file__).parent / "images"
INK, ACCENT, SOFT = "#24292f", "#0b6e99", "#e8f1f5"

STAGES = (
    ("raw corpus", "text, jsonl, code"),
    ("token shards", "WebDataset tars\n+ manifest"),
    ("windows", "position -> sample\n(pure)"),
    ("views", "select x replace\nx layout"),
    ("training", "flat batches\nZeRO 0-3"),
    ("checkpoints", "bit-exact,\nany world size"),
    ("export", "Hugging Face,\nproven equal"),
)
ARROWS = ("data_prep\n(Ray)", "stream", "corruption", "loader", "save", "verify")


def draw_flow(path: Path) -> None:
    """The way of the data, left to right."""
    step, width, height = 2.0, 1.45, 0.95
    figure, axes = plt.subplots(figsize=(14, 2.1))
    for index, (name, what) in enumerate(STAGES):
        x = index * step
        box = mpl.patches.FancyBboxPatch(
            (x, 0), width, height, boxstyle="round,pad=0.05", facecolor=SOFT, edgecolor=ACCENT
        )
        axes.add_patch(box)
        axes.text(x + width / 2, 0.74, name, ha="center", va="center", weight="bold", color=INK, fontsize=11)
        axes.text(x + width / 2, 0.30, what, ha="center", va="center", color=INK, fontsize=9)
    for index, name in enumerate(ARROWS):
        x = index * step + width + 0.07
        axes.annotate(
            "", xy=(x + step - width - 0.14, height / 2), xytext=(x, height / 2), arrowprops={"arrowstyle": "->"}
        )
        axes.text(x + (step - width) / 2 - 0.07, 1.12, name, ha="center", va="bottom", color=ACCENT, fontsize=9)
    axes.set_xlim(-0.15, len(STAGES) * step - 0.3)
    axes.set_ylim(-0.15, 1.6)
    axes.axis("off")
    figure.savefig(path, dpi=110, bbox_inches="tight")


def picture_report(page: Path, path: Path) -> None:
    """The beginning of a report, down to the first chart."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        shown = chromium.new_page(viewport={"width": 1120, "height": 800}, color_scheme="light")
        shown.goto(page.resolve().as_uri())
        shown.add_style_tag(content="#run { display: none; }")
        shown.screenshot(path=path)
        chromium.close()


CELL, MARGIN, LABELS = 16, 6, 22  # pixels: a key's width and a query's height, around the picture, beside the cells
# How a cell is drawn: why its query sees the key, or not.
STYLES = {
    "hidden": 'fill="#edf0f2" stroke="#ffffff"',
    "a": f'fill="{ACCENT}" stroke="#ffffff"',
    "b": 'fill="#e09f3e" stroke="#ffffff"',
    "fails": 'fill="#fdf6ea" stroke="#e09f3e" stroke-dasharray="2 2"',  # in interval B, and a test says no
}


@dataclass(frozen=True)
class PatternFigure:
    """A pattern among sequences, and the names of the rows: queries down the side, keys along the top."""

    pattern: IntervalPattern
    queries: tuple[str, ...]
    keys: tuple[str, ...]
    cu_queries: torch.Tensor
    cu_keys: torch.Tensor

    def sequences(self) -> Iterator[tuple[slice, slice]]:
        """The queries and the keys of each sequence."""
        for n in range(len(self.cu_queries) - 1):
            yield slice(*self.cu_queries[n : n + 2].tolist()), slice(*self.cu_keys[n : n + 2].tolist())


def pattern_figures() -> dict[str, PatternFigure]:
    """The pictures of docs/kernels.md, by name."""
    one, rows = _boundaries(8), _names(8)
    keep = Keep(0.5, stream_key(0, "keep"), torch.arange(8), torch.zeros(8, dtype=torch.int64))
    order = torch.tensor([4, 2, 7, 0, 5, 1, 3, 6], dtype=torch.int32)
    packed, memory = _boundaries(3, 4), _boundaries(5, 2)

    def square(pattern: IntervalPattern) -> PatternFigure:
        return PatternFigure(pattern, rows, rows, one, one)

    return {
        "full": square(IntervalPattern.full(one, 8, one, 8)),
        "causal": square(IntervalPattern.causal(one, 8)),
        "prefix": square(IntervalPattern.prefix(one, 8, torch.tensor([3]))),
        "window": square(IntervalPattern.window(one, 8, before=2, after=1)),
        "seed": square(IntervalPattern.window(one, 8, before=2, slot=True)),
        "retromae": square(IntervalPattern.slot_and_others(one, 8, keep)),
        "permuted": square(IntervalPattern(order, torch.zeros_like(order), order)),
        "mpnet": _mpnet(length=6, num_known=3),
        "packed": PatternFigure(IntervalPattern.causal(packed, 8), rows, rows, packed, packed),
        "cross": PatternFigure(IntervalPattern.full(packed, 8, memory, 8), rows, rows, packed, memory),
    }


def _mpnet(length: int, num_known: int) -> PatternFigure:
    """MPNet (Song et al. 2020, figure 2): tokens x in the order of prediction, masks m and queries z where predicted.

    Ranks are t for token t and length + t for mask t.
    """
    predicted = torch.arange(num_known, length, dtype=torch.int32)
    known = torch.full((length,), num_known, dtype=torch.int32)  # the known tokens and the masks see alike
    a_stop = torch.cat([known, predicted + 1, predicted])
    b_start = length + torch.cat([known, predicted + 1, predicted])
    ranks = torch.cat([torch.arange(length, dtype=torch.int32), length + predicted])
    pattern = IntervalPattern(ranks, torch.zeros_like(a_stop), a_stop, b_start, torch.full_like(b_start, 2 * length))
    tokens, masks = (tuple(f"{kind}{t}" for t in range(length)) for kind in "xm")
    queries = (*tokens[:num_known], *masks[num_known:], *tokens[num_known:], *(f"z{t}" for t in predicted.tolist()))
    keys = (*tokens, *masks[num_known:])
    return PatternFigure(pattern, queries, keys, _boundaries(len(queries)), _boundaries(len(keys)))


def _boundaries(*lengths: int) -> torch.Tensor:
    return torch.tensor([0, *lengths]).cumsum(0, dtype=torch.int32)


def _names(count: int) -> tuple[str, ...]:
    return tuple(map(str, range(count)))


def cell_styles(figure: PatternFigure) -> list[list[str]]:
    """The key of `STYLES` of every query (outer) and key."""
    styles = [["hidden"] * len(figure.keys) for _ in figure.queries]
    without_b = replace(figure.pattern, b_start=None, b_stop=None)
    without_tests = replace(figure.pattern, query_ranks=None, keep=None)
    for queries, keys in figure.sequences():
        for style, pattern in (("fails", without_tests), ("b", figure.pattern), ("a", without_b)):
            for query, key in pattern.visible(queries, keys).nonzero().tolist():
                styles[queries.start + query][keys.start + key] = style
    return styles


def pattern_svg(figure: PatternFigure) -> str:
    """The picture as SVG: a square for every query and key."""
    left = top = MARGIN + LABELS
    width, height = left + CELL * len(figure.keys) + MARGIN, top + CELL * len(figure.queries) + MARGIN
    text = f'font-family="sans-serif" font-size="10" fill="{INK}" text-anchor="middle"'
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}">',
        f'<rect width="{width}" height="{height}" rx="4" fill="#ffffff"/>',
        f"<g {text}>",
        *(f'<text x="{left + CELL * n + CELL // 2}" y="{top - 6}">{name}</text>' for n, name in enumerate(figure.keys)),
        *(f'<text x="{left - 12}" y="{top + CELL * n + 12}">{name}</text>' for n, name in enumerate(figure.queries)),
        "</g>",
    ]
    for query, styles in enumerate(cell_styles(figure)):
        for key, style in enumerate(styles):
            place = f'x="{left + CELL * key}" y="{top + CELL * query}" width="{CELL}" height="{CELL}"'
            lines.append(f'<rect class="{style}" {place} {STYLES[style]}/>')
    return "\n".join([*lines, "</svg>", ""])


def main() -> None:
    """Draw what the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("picture", choices=("flow", "report", "patterns"))
    parser.add_argument("run", nargs="?", type=Path)
    arguments = parser.parse_args()
    if arguments.picture == "flow":
        draw_flow(IMAGES / "flow.png")
    elif arguments.picture == "patterns":
        for name, figure in pattern_figures().items():
            (IMAGES / f"pattern-{name}.svg").write_text(pattern_svg(figure), encoding="utf-8")
    elif arguments.run is None:
        parser.error("report needs the RUN folder")
    else:
        picture_report(arguments.run / "report.html", IMAGES / "report.png")


if __name__ == "__main__":
    main()
