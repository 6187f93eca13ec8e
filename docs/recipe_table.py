"""Writes docs/recipes.md from what the recipes say of themselves: run it after a recipe was added or changed.

python docs/recipe_table.py
"""

import itertools
from pathlib import Path
from typing import Any

from launch.listing import STATED_VOCAB_SIZE, recipe_facts
from launch.terminal import count

PAGE = Path(__file__).with_name("recipes.md")
HEAD = """# Recipes

Every objective is a file in `configs/recipes/`; its comments name the paper, the sections and the numbers, and say
which are presets. `spanwright run NAME data=my.yaml` trains one on your corpus, `spanwright inspect NAME --step 1`
shows what encoder, decoder and loss get. A recipe of your own is a file like these: [new-recipe.md](new-recipe.md).
What may change while a run goes on: [schedules.md](schedules.md). How each of them learns: [learning.md](learning.md).

Each is tested for who sees whom (exactly zero gradient where nothing may be seen), for a golden batch, for a held-out
loss that falls on real text, for an export that equals what was trained, for bit-exact resume, and for the same losses
on two ranks as on one.

Parameters are those of the recipe's own model with a vocabulary of {vocab}; `model=` takes another size. This page is
written by `python docs/recipe_table.py` from the same data as `spanwright recipes --json`.
"""
COLUMNS = "| recipe | what it does | source | reads | parameters | exports to |\n|---|---|---|---|---|---|\n"


def page(facts: list[dict[str, Any]]) -> str:
    """The whole page: a table for each family."""
    parts = [HEAD.format(vocab=f"{STATED_VOCAB_SIZE:,}")]
    ordered = sorted(facts, key=lambda fact: (fact["family"], fact["name"]))
    for family, members in itertools.groupby(ordered, key=lambda fact: fact["family"]):
        rows = "".join(_row(fact) for fact in members)
        parts.append(f"\n## {family[0].upper()}{family[1:]}\n\n{COLUMNS}{rows}")
    return "".join(parts)


def _row(fact: dict[str, Any]) -> str:
    name = fact["name"]
    variants = ", ".join(f"`{variant}`" for variant in fact["variants"])
    cells = (
        f"[`{name}`](../configs/recipes/{name}.yaml)" + (f" (variants: {variants})" if variants else ""),
        fact["summary"],
        fact["source"],
        ", ".join(f"`{need}`" for need in fact["needs"]) or "text alone",
        count(fact["parameters"]),
        fact["export"],
    )
    return f"| {' | '.join(cells)} |\n"


if __name__ == "__main__":
    PAGE.write_text(page(recipe_facts()), encoding="utf-8")
