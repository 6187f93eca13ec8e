"""Ranks, and the figures made of them, on scores small enough to check by eye."""

import numpy as np
import pytest

from pipeline.evaluation.retrieval import cosine_scores, found, ranks, reciprocal_ranks

SCORES = np.array([[0.9, 0.1, 0.0], [0.8, 0.5, 0.1], [0.3, 0.2, 0.2]])


def test_a_rank_counts_what_scores_at_least_as_much() -> None:
    assert ranks(SCORES).tolist() == [1, 2, 3]  # the last one shares its score with another, and gains nothing by it
    assert ranks(np.zeros((4, 4))).tolist() == [4, 4, 4, 4]


def test_figures_are_means_over_queries() -> None:
    places = np.array([1, 2, 10, 11])
    assert reciprocal_ranks(places).tolist() == [1.0, 0.5, 0.1, 0.0]
    assert found(places, 10).tolist() == [1.0, 1.0, 1.0, 0.0]
    assert found(places, 1).mean() == 0.25


def test_cosines_do_not_depend_on_lengths() -> None:
    vectors = np.array([[3.0, 4.0], [0.0, 2.0], [0.0, 0.0]], np.float32)
    scores = cosine_scores(vectors, vectors * np.float32(7.0))
    assert scores[0, 0] == pytest.approx(1.0)
    assert scores[0, 1] == pytest.approx(0.8)
    assert scores[2].tolist() == [0.0, 0.0, 0.0]
