"""Records each recipe's held-out loss as it learns, for docs/learning.md (`python docs/learning.py` writes it).

    python -m tests.recipes.record_curves DATASET [RECIPE ...]

DATASET is the folder that tests/recipes/conftest.py prepares, or any with all columns. What is recorded of a recipe
replaces what was.
"""

import datetime
import json
import sys
from pathlib import Path
from typing import Any

import torch

from pipeline.objectives import build_objective
from pipeline.training.assembly import open_data
from tests.recipes.small import RECIPES, heldout_terms, loss_of, small

RECORD = Path(__file__).parents[2] / "benchmarks" / "results" / "recipe_curves.json"
STEPS, EVERY = 200, 20


def curve_of(recipe: str, dataset: Path) -> dict[str, list[float]]:
    """The mean held-out loss by term after 0, EVERY, ... STEPS updates of 16 windows of 64 tokens."""
    config = small(recipe, dataset)
    data = open_data(config)
    objective: Any = build_objective(config.objective, config.model, data.tokenizer.vocab_size, config.run.seed)
    optimizer = torch.optim.AdamW(objective.parameters(), config.training.learning_rate, weight_decay=0.01)
    curve: dict[str, list[float]] = {}
    for step in range(STEPS + 1):
        if step % EVERY == 0:
            for term, value in heldout_terms(objective, data).items():
                curve.setdefault(term, []).append(round(value, 4))
        if step < STEPS:
            optimizer.zero_grad()
            loss_of(objective, data.micro_batches[step * config.training.micro_batch]).backward()
            torch.nn.utils.clip_grad_norm_(objective.parameters(), 1.0)
            optimizer.step()
    return curve


def main(dataset: Path, *recipes: str) -> None:
    """Record these recipes, or all."""
    torch.set_num_threads(1)
    for recipe in recipes or RECIPES:
        curve = curve_of(recipe, dataset)
        record = json.loads(RECORD.read_text(encoding="utf-8")) if RECORD.exists() else {"curves": {}}
        record |= {"date": datetime.date.today().isoformat(), "every": EVERY}
        record["curves"][recipe] = curve
        record["curves"] = dict(sorted(record["curves"].items()))
        RECORD.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
