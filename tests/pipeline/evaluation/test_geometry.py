"""Measures of layers, vectors and tables whose values are known for points that are placed by hand."""

import math

import numpy as np
import pytest
import torch

from pipeline.evaluation.embeddings import token_embedding_variability
from pipeline.evaluation.isotropy import iso_score, mean_cosine, partition_isotropy
from pipeline.evaluation.layers import curvature, damaged, info_nce, matrix_entropy
from pipeline.evaluation.mining import margins, mine


def test_entropy_is_one_for_orthogonal_states_and_zero_for_equal_ones() -> None:
    assert matrix_entropy(torch.eye(8)) == pytest.approx(1.0)
    assert matrix_entropy(torch.ones(8, 8)) == pytest.approx(0.0, abs=1e-9)


def test_curvature_is_the_turn_from_step_to_step() -> None:
    line = torch.arange(5.0)[:, None] * torch.tensor([[1.0, 2.0]])
    assert curvature(line) == pytest.approx(0.0, abs=1e-4)
    square = torch.tensor([[0.0, 0.0], [1, 0], [1, 1], [0, 1], [0, 0]])
    assert curvature(square) == pytest.approx(90.0)
    assert curvature(torch.tensor([[0.0], [1.0], [0.0]])) == pytest.approx(180.0)


def test_invariance_is_log_n_where_versions_find_each_other_and_nothing_where_all_are_alike() -> None:
    assert info_nce(torch.eye(16), torch.eye(16)).mean() == pytest.approx(math.log(16), abs=1e-3)
    assert info_nce(torch.ones(16, 4), torch.ones(16, 4)).mean() == pytest.approx(0.0, abs=1e-9)


def test_a_text_is_damaged_in_a_tenth_of_its_letters_the_same_way_each_time() -> None:
    text = "Some letters, 1234 digits and blanks. " * 40
    first, second = damaged(text, 3, 0), damaged(text, 3, 1)
    assert first == damaged(text, 3, 0) != second
    changed = [before for before, after in zip(text, first, strict=True) if before != after]
    letters = sum(character.isalpha() for character in text)
    assert 0.05 < len(changed) / letters < 0.15
    assert all(character.isalpha() for character in changed)


def test_even_directions_are_isotropic_and_one_line_is_not() -> None:
    generator = torch.Generator().manual_seed(0)
    ball = torch.randn(4000, 8, generator=generator)
    line = torch.zeros(100, 8)
    line[:, 0] = torch.arange(100.0) + 1
    assert iso_score(ball) > 0.98
    assert partition_isotropy(ball) > 0.95
    assert abs(mean_cosine(ball)) < 0.01
    assert iso_score(line) == pytest.approx(0.0, abs=1e-9)
    assert partition_isotropy(line) == pytest.approx(math.exp(-2), rel=1e-6)
    assert mean_cosine(line) == pytest.approx(1.0)


def test_variability_is_that_of_each_row() -> None:
    table = torch.tensor([[1.0, -1.0], [3.0, -3.0]])
    deviations = [math.sqrt(2), math.sqrt(18)]
    mean, spread = token_embedding_variability(table)
    assert mean == pytest.approx(sum(deviations) / 2)
    assert spread == pytest.approx(abs(deviations[1] - deviations[0]) / math.sqrt(2))


def test_the_margin_sees_through_a_text_that_is_near_to_everything() -> None:
    # The last text of the second side is the nearest by cosine to all, and belongs to none.
    cosines = np.array([[0.80, 0.10, 0.10, 0.85], [0.10, 0.80, 0.10, 0.85], [0.10, 0.10, 0.80, 0.85]])
    assert (cosines.argmax(1) == 3).all()
    found = mine(margins(cosines, neighbours=2), num_pairs=3)
    assert (found.precision, found.recall, found.f1) == (1.0, 1.0, 1.0)


def test_mining_stops_where_precision_would_fall() -> None:
    scores = np.array([[2.0, 0, 0, 0], [0, 1.9, 0, 0], [0, 0, 0, 1.0], [0, 0, 1.1, 0]])
    found = mine(scores, num_pairs=4)
    assert (found.precision, found.recall) == (1.0, 0.5)
    assert found.threshold == pytest.approx(1.9)
