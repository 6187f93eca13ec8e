"""Fills the tables of claims in README.md and docs/claims.md from the newest recorded result of each.

python -m benchmarks.claims --json --out benchmarks/results
python docs/claims_table.py
"""

import json
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results"
BEGIN, END = "<!-- claims: written by docs/claims_table.py -->\n", "<!-- end of claims -->"
ORDER = ("three_ml", "mae_lm", "electra", "rts", "dupmae", "cocondenser", "seed_encoder", "ul2")
FIGURES = {
    "role_accuracy": "word classes, accuracy",
    "effective_rank": "effective rank, of 64",
    "first_mrr10": "retrieval, MRR@10",
    "prefix_loss": "loss of a text's end",
}
HEAD = """| recipe | the paper says | asked by | baseline | recipe | gain (95 % interval) | here |
|---|---|---|---|---|---|---|
"""


def pages() -> list[tuple[Path, str]]:
    """Each page and the folder that its links to recipes begin in."""
    return [(ROOT / "README.md", "configs/recipes"), (ROOT / "docs" / "claims.md", "../configs/recipes")]


def recorded() -> list[dict[str, Any]]:
    """The figures of the newest result of each claim that has one, in the order of the table."""
    newest = [paths[-1] for name in ORDER if (paths := sorted(RESULTS.glob(f"*-claims_{name}.json")))]
    return [json.loads(path.read_text(encoding="utf-8"))["figures"] for path in newest]


def filled(page: str, results: list[dict[str, Any]], recipes: str) -> str:
    """The page with the table of `results` between its marks."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    assert begin, "the page has a place for the table"
    assert end, "the place has an end"
    return before + begin + HEAD + "".join(_row(figures, recipes) for figures in results) + end + after


def _row(figures: dict[str, Any], recipes: str) -> str:
    by, recipe, baseline = figures["by"], figures["recipe"], figures["baseline"]
    means = {name: figures["recipes"][name][by]["mean"] for name in (baseline, recipe)}
    interval = figures["gain"] if figures["gain"]["low"] is not None else figures["gain_over_items"]
    cells = (
        f"[`{recipe}`]({recipes}/{recipe}.yaml)",
        figures["claim"],
        FIGURES[by],
        f"{means[baseline]:.3g} (`{baseline}`)",
        f"{means[recipe]:.3g}",
        _gain(figures["gain"]["mean"], interval),
        f"**{figures['verdict']}**",
    )
    return f"| {' | '.join(cells)} |\n"


def _gain(mean: float, interval: dict[str, float] | None) -> str:
    within = "" if interval is None else f" ({interval['low']:+.3g} to {interval['high']:+.3g})"
    return f"{mean:+.3g}{within}"


if __name__ == "__main__":
    for path, recipes in pages():
        text = filled(path.read_text(encoding="utf-8"), recorded(), recipes)
        path.write_text(text, encoding="utf-8")
