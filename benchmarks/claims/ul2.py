"""A mixture of denoisers writes the end of a text better than span corruption alone (Tay et al. 2022, section 4).

Each model is asked in its own words: UL2 with the mode token that it learned for the task, T5 without any.
"""

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import torch

from benchmarks.claims.claim import Claim, Measured, items_of, rows_of
from benchmarks.claims.runs import Runs
from pipeline.evaluation.objective import load_objective
from pipeline.training.assembly import open_data

RECIPES = ("t5_span", "ul2")
HELDOUT_WINDOWS = 256
# The R and S denoisers of the recipe: short spans, and the last quarter of the text.
TASKS = {
    "span": (0, "{kind: t5_spans, mean_span_length: 3, noise_density: 0.15}"),
    "prefix": (1, "{kind: t5_spans, mean_span_length: 100000, noise_density: 0.25, edges: t5}"),
}


def measure(runs: Runs, seeds: Sequence[int]) -> Measured:
    """Held-out loss of both tasks, per token that is to be written, each window as much as another."""

    def ask(recipe: str, seed: int) -> dict[str, float]:
        return {f"{task}_loss": float(losses(runs, recipe, seed, task).mean()) for task in TASKS}

    def of_windows(recipe: str, seed: int) -> np.ndarray:
        return losses(runs, recipe, seed, "prefix")

    return Measured(rows_of(RECIPES, seeds, ask), items_of(RECIPES, seeds, of_windows))


@cache
@torch.no_grad()
def losses(runs: Runs, recipe: str, seed: int, task: str) -> np.ndarray:
    """Cross entropy of the first held-out windows, nats per target token of each: [windows]."""
    data = open_data(runs.config(recipe, seed, *question(recipe, task)))
    objective: Any = load_objective(runs.config(recipe, seed), runs.tokenizer.vocab_size)
    assert data.heldout is not None, "the corpus has held-out documents"
    terms = (objective(data.heldout.micro_batch_at(n).to("cpu").views) for n in range(data.heldout.num_samples))
    return np.array([float(loss) / count for term in terms for loss, count in term.values()])


def question(recipe: str, task: str) -> tuple[str, ...]:
    """The overrides that ask a recipe this task, a window at a time."""
    mode, select = TASKS[task]
    asked = (
        f"corruption.mixture=[{{mode: {mode}, select: {select}}}]" if recipe == "ul2" else f"corruption.select={select}"
    )
    return asked, f"training.heldout_samples={HELDOUT_WINDOWS}", "training.micro_batch=1"


CLAIMS = (
    Claim(
        name="ul2",
        recipe="ul2",
        baseline="t5_span",
        by="prefix_loss",
        statement="writes the end of a text better than T5's span corruption",
        source="Tay et al. 2022 (arXiv:2205.05131), section 4",
        measure=measure,
        lower_is_better=True,
    ),
)
