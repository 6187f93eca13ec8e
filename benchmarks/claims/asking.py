"""What several claims ask of the same run, each asked once."""

from functools import cache

import numpy as np
import numpy.typing as npt

from benchmarks.claims.runs import Runs
from pipeline.evaluation.bm25 import bm25_scores
from pipeline.evaluation.habits import Pooling
from pipeline.evaluation.retrieval import Ranks, cosine_scores, ranks

TASKS = ("code", "pages")


@cache
def role_accuracies(runs: Runs, recipe: str, seed: int) -> npt.NDArray[np.float64]:
    """How often a linear probe tells a token's role, [windows]."""
    return runs.heldout.role_accuracies(runs.encoder(recipe, seed))


@cache
def untrained_role_accuracy(runs: Runs) -> float:
    """The same of BERT's first weights: what the tokens themselves say, by whatever random layers make of them."""
    return float(runs.heldout.role_accuracies(runs.encoder("bert", 0, trained=False)).mean())


@cache
def retrieval_ranks(runs: Runs, recipe: str, seed: int, pooling: Pooling) -> dict[str, Ranks]:
    """The rank of each query's text by the cosine of their vectors, by task."""
    encoder, encode = runs.encoder(recipe, seed), runs.tokenizer.encode
    return {
        task: ranks(
            cosine_scores(
                encoder.vectors([encode(pair.query) for pair in runs.heldout.pairs[task]], pooling),
                encoder.vectors([encode(pair.text) for pair in runs.heldout.pairs[task]], pooling),
            )
        )
        for task in TASKS
    }


@cache
def bm25_ranks(runs: Runs) -> dict[str, Ranks]:
    """The same by BM25, which needs no training."""
    return {
        task: ranks(bm25_scores([pair.query for pair in pairs], [pair.text for pair in pairs]))
        for task, pairs in runs.heldout.pairs.items()
    }
