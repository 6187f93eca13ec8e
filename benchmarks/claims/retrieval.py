"""Training that puts a text into one vector makes better vectors than BERT (DupMAE, coCondenser, SEED-Encoder).

Without any fine-tuning: docstrings look for their functions, headings for their sections, among all held-out ones, by
the cosine of their vectors. The vector is the first row's state, as in the papers; the mean of all states is beside it,
and BM25 on words, which needs no training.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from benchmarks.claims.asking import TASKS, bm25_ranks, retrieval_ranks
from benchmarks.claims.claim import Claim, Measured, items_of, rows_of
from benchmarks.claims.runs import Runs
from pipeline.evaluation.habits import Pooling
from pipeline.evaluation.intervals import bootstrap_interval
from pipeline.evaluation.retrieval import Ranks, found, reciprocal_ranks

POOLINGS: tuple[Pooling, ...] = ("first", "mean")


def measure(runs: Runs, seeds: Sequence[int], recipe: str) -> Measured:
    """MRR@10 and recall of both recipes, by either vector."""

    def ask(name: str, seed: int) -> dict[str, float]:
        by_pooling = [figures(retrieval_ranks(runs, name, seed, pooling), pooling) for pooling in POOLINGS]
        return {figure: value for part in by_pooling for figure, value in part.items()}

    def by_query(name: str, seed: int) -> np.ndarray:
        return np.concatenate(
            [reciprocal_ranks(places) for places in retrieval_ranks(runs, name, seed, "first").values()]
        )

    recipes = ("bert", recipe)
    return Measured(rows_of(recipes, seeds, ask), items_of(recipes, seeds, by_query), reference(runs))


def figures(places: dict[str, Ranks], pooling: str) -> dict[str, float]:
    """MRR@10 and recall of each task, and MRR@10 of all queries."""
    mrr = {task: reciprocal_ranks(places[task]) for task in TASKS}
    recalls = {f"{task}_{pooling}_recall{n}": float(found(places[task], n).mean()) for task in TASKS for n in (10, 100)}
    return {
        f"{pooling}_mrr10": float(np.concatenate(list(mrr.values())).mean()),
        **{f"{task}_{pooling}_mrr10": float(values.mean()) for task, values in mrr.items()},
        **recalls,
    }


def reference(runs: Runs) -> dict[str, Any]:
    """MRR@10 of BM25 with its bootstrap interval over queries, and how many queries there are."""
    places = bm25_ranks(runs)
    return {
        "bm25_mrr10": {task: bootstrap_interval(reciprocal_ranks(places[task])).as_json() for task in TASKS},
        "pairs": {task: len(places[task]) for task in TASKS},
    }


def _claim(recipe: str, source: str) -> Claim:
    return Claim(
        name=recipe,
        recipe=recipe,
        baseline="bert",
        by="first_mrr10",
        statement="better vectors of texts than BERT's [CLS], by zero-shot retrieval",
        source=source,
        measure=partial(measure, recipe=recipe),
    )


CLAIMS = (
    _claim("dupmae", "Liu et al. 2023 (arXiv:2305.02564), section 4"),
    _claim("cocondenser", "Gao and Callan 2022 (arXiv:2108.05540), section 4"),
    _claim("seed_encoder", "Lu et al. 2021 (arXiv:2102.09206), section 4"),
)
