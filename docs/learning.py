"""Writes docs/learning.md and its picture from what was recorded (tests/recipes/record_curves.py).

python docs/learning.py
"""

import json
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parent
RECORD = DOCS.parent / "benchmarks" / "results" / "recipe_curves.json"
PAGE, PICTURE = DOCS / "learning.md", DOCS / "images" / "learning.svg"
INK, SOFT = "#24292f", "#d0d7de"
COLOURS = ("#0b6e99", "#b3261e", "#7a5195")
WIDTH, HEIGHT, GAP, PER_ROW = 180, 90, 34, 4
HEAD = """# How the recipes learn

Each recipe trained from nothing on three packages of the Python standard library: two layers of width 64, {steps}
updates of 16 windows of 64 tokens by AdamW, on one CPU core in a few seconds. A line is the mean held-out loss of one
term, from its own first value (top) to 0 (bottom). It shows that the losses are learned; it does not compare recipes,
whose losses are of different things.

![Held-out loss of every recipe and term by update](images/learning.svg)

Recorded {date} by `python -m tests.recipes.record_curves`; this page is written by `python docs/learning.py` from
`benchmarks/results/recipe_curves.json`. How far each recipe has to get in the test suite, and in which budget, is in
`tests/recipes/test_learning.py`.

| recipe | term | before | half-way | after {steps} updates |
|---|---|---|---|---|
"""
NOTE = """
What to read in it, and what not:

- 6.9 is chance, and about 5.4 what the frequencies of tokens alone give a hidden token here. Models this small leave
  that plateau slowly, those that see most of the text around a token first.
- `token_detection` of `rts` and `c_rts` falls below what the share of replaced tokens alone gives (0.42). ELECTRA's,
  which is times 50, gets as far as its share (21) and no further in this budget.
- `macbert` is so quick because the table of these runs takes the tokens with the nearest ids for similar ones.
- `next_sentence` of `bert_nsp` leaves a coin's 0.69 a little, `sentence_order` of `macbert` does not: windows of 64
  tokens hold few pairs, and little to order.
"""


def page(record: dict[str, Any]) -> str:
    """The whole page."""
    rows = []
    for recipe, curve in record["curves"].items():
        for term, losses in curve.items():
            figures = (losses[0], losses[len(losses) // 2], losses[-1])
            rows.append(f"| `{recipe}` | {term} | {' | '.join(f'{figure:.3f}' for figure in figures)} |\n")
    steps = record["every"] * (len(next(iter(next(iter(record["curves"].values())).values()))) - 1)
    return HEAD.format(steps=steps, date=record["date"]) + "".join(rows) + NOTE


def picture(record: dict[str, Any]) -> str:
    """A small panel for each recipe, a line for each term; the same bytes on every machine."""
    curves = record["curves"]
    num_rows = -(-len(curves) // PER_ROW)
    width, height = PER_ROW * (WIDTH + GAP) + GAP, num_rows * (HEIGHT + GAP) + GAP
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}">',
        f'<rect width="{width}" height="{height}" rx="4" fill="#ffffff"/>',
        f'<g font-family="sans-serif" font-size="11" fill="{INK}">',
    ]
    for number, (recipe, curve) in enumerate(curves.items()):
        left, top = GAP + number % PER_ROW * (WIDTH + GAP), GAP + number // PER_ROW * (HEIGHT + GAP)
        parts.append(f'<text x="{left}" y="{top - 6}">{recipe}</text>')
        parts.append(f'<path d="M{left} {top}V{top + HEIGHT}H{left + WIDTH}" fill="none" stroke="{SOFT}"/>')
        for colour, (term, losses) in zip(COLOURS, curve.items(), strict=False):
            step = WIDTH / (len(losses) - 1)
            points = " ".join(
                f"{left + n * step:.1f},{top + HEIGHT * (1 - min(loss / losses[0], 1.05)):.1f}"
                for n, loss in enumerate(losses)
            )
            parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.5">')
            parts.append(f"<title>{recipe}: {term}</title></polyline>")
    return "\n".join([*parts, "</g>", "</svg>", ""])


if __name__ == "__main__":
    recorded = json.loads(RECORD.read_text(encoding="utf-8"))
    PAGE.write_text(page(recorded), encoding="utf-8")
    PICTURE.write_text(picture(recorded), encoding="utf-8")
