"""Detecting replaced tokens teaches more per token than filling in masks (ELECTRA), or as much, and cheaper (RTS)."""

from collections.abc import Sequence
from functools import partial

import numpy as np

from benchmarks.claims.asking import retrieval_ranks, role_accuracies, untrained_role_accuracy
from benchmarks.claims.claim import Claim, Measured, items_of, rows_of
from benchmarks.claims.runs import Runs
from pipeline.evaluation.retrieval import reciprocal_ranks


def measure(runs: Runs, seeds: Sequence[int], recipe: str) -> Measured:
    """Token roles by a linear probe, and retrieval by the mean of the states, after as many tokens."""

    def ask(name: str, seed: int) -> dict[str, float]:
        places = retrieval_ranks(runs, name, seed, "mean").values()
        return {
            "role_accuracy": float(role_accuracies(runs, name, seed).mean()),
            "mean_mrr10": float(np.mean([reciprocal_ranks(ranks).mean() for ranks in places])),
        }

    recipes = ("bert", recipe)
    items = items_of(recipes, seeds, partial(role_accuracies, runs))
    return Measured(rows_of(recipes, seeds, ask), items, {"untrained": untrained_role_accuracy(runs)})


CLAIMS = (
    Claim(
        name="electra",
        recipe="electra",
        baseline="bert",
        by="role_accuracy",
        statement="better than BERT after as many tokens",
        source="Clark et al. 2020 (arXiv:2003.10555), section 3.4",
        measure=partial(measure, recipe="electra"),
    ),
    Claim(
        name="rts",
        recipe="rts",
        baseline="bert",
        by="role_accuracy",
        statement="as good as BERT (here: at most one point worse) after as many tokens",
        source="Di Liello et al. 2022 (arXiv:2210.13536)",
        measure=partial(measure, recipe="rts"),
        margin=0.01,
    ),
)
