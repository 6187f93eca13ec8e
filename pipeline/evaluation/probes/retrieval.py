"""Zero-shot retrieval on the user's own text: each query should find the one text that belongs to it among all.

Pairs are made from held-out documents (pipeline/evaluation/pairs.py), or read from a file. BM25 and any folder that
sentence-transformers loads are asked the same.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial

import numpy as np

from data_prep.errors import InputError
from pipeline.evaluation.bm25 import bm25_scores
from pipeline.evaluation.exported import sentence_vectors
from pipeline.evaluation.figures import Figure, Figures
from pipeline.evaluation.pairs import (
    Pair,
    docstring_pairs,
    heading_pairs,
    inverse_cloze_pairs,
    read_pairs,
    title_pairs,
    usable,
)
from pipeline.evaluation.retrieval import Ranks, cosine_scores, discounted_gains, found, ranks, reciprocal_ranks
from pipeline.evaluation.subject import Subject
from pipeline.evaluation.texts import Texts

ABOUT = "title -> body, docstring -> code, inverse cloze, translations; beside BM25 and --beside FOLDER"
NEEDS = "any encoder"
MOST_PAIRS, FEWEST_PAIRS = 1000, 8
Scores = Callable[[Sequence[str], Sequence[str]], np.ndarray]
FINDERS: Mapping[str, Callable[[str], Iterable[Pair]]] = {
    "docstring -> code": docstring_pairs,
    "heading -> section": heading_pairs,
    "title -> body": title_pairs,
    "inverse cloze": inverse_cloze_pairs,
}


def measure(subject: Subject) -> Figures:
    """MRR@10, nDCG@10 and recall@100 over all tasks, and of each."""
    file = subject.options.pairs
    tasks = {"file": read_pairs(file)} if file else tasks_of(subject.texts)
    if not tasks:
        raise InputError(
            f"probe retrieval: these documents give fewer than {FEWEST_PAIRS} pairs of a query and a text; give your "
            "own with --pairs FILE"
        )
    own = _ranks(tasks, partial(_vector_scores, subject.vectors))
    beside: dict[str, Scores] = {"bm25": bm25_scores}
    beside |= {str(folder): partial(_vector_scores, sentence_vectors(folder)) for folder in subject.options.beside}
    places = {name: _ranks(tasks, scores) for name, scores in beside.items()}
    groups = {"task": {task: figures_of(ranks_Q) for task, ranks_Q in own.items()}}
    for name, theirs in places.items():
        groups[f"task, {name}"] = {task: figures_of(ranks_Q) for task, ranks_Q in theirs.items()}
    groups["beside"] = {name: figures_of(_all(theirs)) for name, theirs in places.items()}
    settings = {
        **({"pairs": str(file)} if file else subject.texts.settings),
        "queries": {task: len(pairs) for task, pairs in tasks.items()},
        "pooling": "sentence-transformers" if subject.sentences else subject.habits.pooling,
    }
    return Figures(figures_of(_all(own)), groups, settings, reciprocal_ranks(_all(own)).tolist())


def tasks_of(texts: Texts) -> dict[str, list[Pair]]:
    """The tasks that these documents give enough pairs for, each with at most MOST_PAIRS, spread evenly."""
    tasks = {name: usable(_of_documents(texts, find)) for name, find in FINDERS.items()}
    for (first, second), pairs in texts.translations().items():
        tasks[f"translations {first} - {second}"] = [Pair(one.text, other.text) for one, other in pairs]
    return {name: pairs[:: -(-len(pairs) // MOST_PAIRS)] for name, pairs in tasks.items() if len(pairs) >= FEWEST_PAIRS}


def figures_of(ranks_Q: Ranks) -> dict[str, Figure]:
    """The three figures of ranks, with their intervals over queries."""
    return {
        "mrr@10": Figure.mean(reciprocal_ranks(ranks_Q)),
        "ndcg@10": Figure.mean(discounted_gains(ranks_Q)),
        "recall@100": Figure.mean(found(ranks_Q, 100)),
    }


def _of_documents(texts: Texts, find: Callable[[str], Iterable[Pair]]) -> Iterator[Pair]:
    return itertools.chain.from_iterable(find(document.text) for document in texts.documents)


def _ranks(tasks: Mapping[str, Sequence[Pair]], scores: Scores) -> dict[str, Ranks]:
    return {task: ranks(scores([p.query for p in pairs], [p.text for p in pairs])) for task, pairs in tasks.items()}


def _vector_scores(
    vectors: Callable[[Sequence[str]], np.ndarray], queries: Sequence[str], texts: Sequence[str]
) -> np.ndarray:
    return cosine_scores(vectors(queries), vectors(texts))


def _all(by_task: Mapping[str, Ranks]) -> Ranks:
    return np.concatenate(list(by_task.values()))
