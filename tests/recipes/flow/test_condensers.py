"""Condenser, coCondenser: of the upper layers the head gets one vector, and contrast reaches all of a group."""

from typing import Any

import pytest
import torch

from pipeline.batch import IGNORED_LABEL, Views
from pipeline.config import RunConfig
from pipeline.corruption.corruption import Corruption
from tests.recipes.flow.tracing import (
    VOCAB_SIZE,
    objective_of,
    row_gradients,
    small_config,
    untouched_parameters,
    with_labels_only,
)
from tests.recipes.test_golden import SPECIAL_TOKENS, cut, sample

RECIPES = ("condenser", "cocondenser")


def views_of(config: RunConfig) -> Views:
    """The views of one sample, as the recipe's stream cuts it."""
    corruption = Corruption(config.corruption, SPECIAL_TOKENS, VOCAB_SIZE, 32, 4, seed=0)
    return corruption.apply([cut(sample(), config.stream)]).to("cpu").views


def gradients_at(objective: Any, module: Any, views: Views, term: str) -> torch.Tensor:
    """[T]: the norm of the gradient of this term at each row that `module` gives."""
    states: list[torch.Tensor] = []

    def keep(module: Any, inputs: Any, output: torch.Tensor) -> torch.Tensor:
        states.append(output.detach().requires_grad_())
        return states[-1]

    handle = module.register_forward_hook(keep)
    loss, _ = objective(views)[term]
    handle.remove()
    return torch.autograd.grad(loss, states)[0].norm(dim=-1)


@pytest.mark.parametrize("recipe", RECIPES)
def test_the_head_gets_the_last_layers_cls_and_the_early_layers_tokens(recipe: str) -> None:
    config = small_config(recipe, "corruption.select.rate=0.3")
    objective, views = objective_of(config).eval(), views_of(config)
    view = views["encoder"]
    own = view.sequence(0)
    for row in torch.nonzero(view.labels[own] != IGNORED_LABEL).squeeze(1).tolist():
        alone = {"encoder": with_labels_only(view, [row])}
        last = gradients_at(objective, objective.model.encoder, alone, "condensed")
        assert torch.nonzero(last).flatten().tolist() == [own.start]
        early = gradients_at(objective, objective.model.encoder.blocks[0], alone, "condensed")
        assert (early[own] > 0).all()
        assert not early[own.stop :].any()


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_parameter_is_trained_and_every_term_reaches_the_whole_encoder(recipe: str) -> None:
    config = small_config(recipe)
    objective, views = objective_of(config).eval(), views_of(config)
    assert not untouched_parameters(objective, views)
    for term in objective(views):
        missed = {name.split(".")[0] for name in untouched_parameters(objective, views, term) if ".head." not in name}
        assert missed == (set() if term == "condensed" else {"late"}), term


def test_contrast_reaches_every_token_of_every_span_in_the_group() -> None:
    config = small_config("cocondenser")
    objective, views = objective_of(config).eval(), views_of(config)
    (reached,) = row_gradients(objective, objective.model.embedding, views, "contrast")
    assert (reached[: views["encoder"].num_rows] > 0).all()
    assert objective.counts(views)["contrast"] == 4
