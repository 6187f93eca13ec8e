"""BERT's family: a hidden token is not seen, another document is not seen, its own text is, and all is trained."""

import numpy as np
import pytest
import torch

from pipeline.batch import IGNORED_LABEL
from tests.recipes.flow.tracing import (
    objective_of,
    row_gradients,
    small_config,
    untouched_parameters,
    views_of,
    with_labels_only,
    with_token,
)
from tests.recipes.test_golden import FIRST_WORD, sample

RECIPES = ("bert", "bert_wwm", "rom", "slm")


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_hidden_token_is_nowhere_in_what_the_encoder_reads(recipe: str) -> None:
    config = small_config(recipe, "corruption.select.rate=0.3")
    before = views_of(config, sample())["encoder"]
    length = int(sample().piece_offsets[1])
    assert before.labels is not None, "this view has labels"
    hidden = [row for row in range(1, length + 1) if before.labels[row] not in (IGNORED_LABEL, before.tokens[row])]
    assert hidden, "a token of the text is hidden"
    other = FIRST_WORD - 1  # not in the text
    for row in hidden:
        after = views_of(config, with_token(sample(), row - 1, other))["encoder"]
        assert torch.equal(after.tokens, before.tokens)
        assert np.flatnonzero(after.labels != before.labels).tolist() == [row]


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_prediction_sees_all_of_its_document_and_nothing_of_another(recipe: str) -> None:
    config = small_config(recipe, "corruption.select.rate=0.3")
    objective, view = objective_of(config), views_of(config, sample())["encoder"]
    first = view.sequence(0)
    labelled = [row for row in range(first.stop) if view.labels[row] >= 0]
    for row in labelled:
        views = {"encoder": with_labels_only(view, [row])}
        (seen,) = row_gradients(objective, objective.model.embedding, views)
        assert (seen[first] > 0).all()
        assert not seen[first.stop :].any()


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_parameter_is_trained(recipe: str) -> None:
    config = small_config(recipe)
    assert not untouched_parameters(objective_of(config), views_of(config, sample()))
