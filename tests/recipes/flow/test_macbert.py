"""MacBERT: no mask in any text, similar words at their share, and the order of two segments read from [CLS] alone."""

import dataclasses

import torch

from pipeline.batch import IGNORED_LABEL
from tests.recipes.flow.tracing import (
    objective_of,
    row_gradients,
    small_config,
    untouched_parameters,
    views_of,
)
from tests.recipes.test_golden import sample


def test_the_order_is_read_from_both_segments_of_its_document_and_no_other() -> None:
    config = small_config("macbert")
    objective, view = objective_of(config), views_of(config, sample())["encoder"]
    assert (view.pair_labels != IGNORED_LABEL).tolist() == [True, False, False, False]
    (seen,) = row_gradients(objective, objective.model.embedding, {"encoder": view}, "sentence_order")
    assert (seen[view.sequence(0)] > 0).all()
    assert not seen[view.sequence(0).stop :].any()


def test_the_answer_is_in_no_row_and_another_answer_is_another_loss() -> None:
    config = small_config("macbert")
    objective, view = objective_of(config), views_of(config, sample())["encoder"]
    other = dataclasses.replace(view, pair_labels=torch.where(view.pair_labels >= 0, 1 - view.pair_labels, -100))
    one, two = (objective({"encoder": given}) for given in (view, other))
    assert torch.equal(one["masked_lm"][0], two["masked_lm"][0])
    assert not torch.equal(one["sentence_order"][0], two["sentence_order"][0])


def test_each_term_trains_its_head_and_the_encoder() -> None:
    config = small_config("macbert")
    objective, views = objective_of(config), views_of(config, sample())
    assert not untouched_parameters(objective, views)
    assert all(name.startswith("pair.") for name in untouched_parameters(objective, views, "masked_lm"))
    assert all(name.startswith("model.head.") for name in untouched_parameters(objective, views, "sentence_order"))
