"""The tables of claims are those that the recorded results give."""

import importlib.util
from pathlib import Path
from typing import Any

import pytest

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="module")
def module() -> Any:
    spec = importlib.util.spec_from_file_location("claims_table", DOCS / "claims_table.py")
    assert spec is not None
    assert spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


def test_the_pages_show_what_was_recorded(module: Any) -> None:
    results = module.recorded()
    assert results
    for path, recipes in module.pages():
        written = path.read_text(encoding="utf-8")
        assert written == module.filled(written, results, recipes), "run: python docs/claims_table.py"


def test_every_row_leads_to_its_recipe(module: Any) -> None:
    for figures in module.recorded():
        assert (DOCS.parent / "configs" / "recipes" / f"{figures['recipe']}.yaml").is_file()


def test_a_row_shows_the_interval_that_decided(module: Any) -> None:
    interval = {"mean": 1.0, "low": 0.5, "high": 1.5}
    figures = {
        "by": "effective_rank", "recipe": "mae_lm", "baseline": "bert", "claim": "a higher rank", "verdict": "shown",
        "recipes": {"bert": {"effective_rank": {"mean": 20.0}}, "mae_lm": {"effective_rank": {"mean": 21.0}}},
        "gain": interval, "gain_over_items": {"mean": 1.0, "low": -9.0, "high": 9.0},
    }  # fmt: skip
    row = module.filled(module.BEGIN + module.END, [figures], "recipes").splitlines()[-2]
    assert row == (
        "| [`mae_lm`](recipes/mae_lm.yaml) | a higher rank | effective rank, of 64 | 20 (`bert`) | 21 "
        "| +1 (+0.5 to +1.5) | **shown** |"
    )
    figures["gain"] = {"mean": 1.0, "low": None, "high": None}
    assert "+1 (-9 to +9)" in module.filled(module.BEGIN + module.END, [figures], "recipes")
