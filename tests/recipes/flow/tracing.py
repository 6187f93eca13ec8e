"""How far a loss reaches: gradients at the embedded rows, and what another text would have changed."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from pipeline.batch import IGNORED_LABEL, Batch, Views
from pipeline.config import RunConfig
from pipeline.corruption.corruption import Corruption
from pipeline.corruption.pieces import GivenSample
from pipeline.objectives import build_objective
from tests.recipes.small import small
from tests.recipes.test_golden import FIRST_WORD, NAMES, SPECIAL_TOKENS

VOCAB_SIZE = FIRST_WORD + len(NAMES)


def small_config(recipe: str, *overrides: str) -> RunConfig:
    """The recipe with a tiny model; no dataset is read."""
    return small(recipe, Path("nowhere"), "stream.window=32", *overrides, vocab_size=VOCAB_SIZE)


def objective_of(config: RunConfig) -> Any:
    """The objective with its first weights, shaken so that no bias or norm hides anything."""
    objective = build_objective(config.objective, config.model, VOCAB_SIZE, seed=1)
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in objective.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.05)
    return objective


def views_of(config: RunConfig, sample: GivenSample) -> Views:
    """The views of one sample, as tensors."""
    corruption = Corruption(config.corruption, SPECIAL_TOKENS, VOCAB_SIZE, 32, 4, seed=0)
    return corruption.apply([sample]).to("cpu").views


def with_token(sample: GivenSample, place: int, token: int) -> GivenSample:
    """The sample with another token at one place of its text."""
    tokens = sample.tokens.copy()
    tokens[place] = token
    return dataclasses.replace(sample, tokens=tokens)


def with_labels_only(view: Batch, rows: Sequence[int]) -> Batch:
    """The view with the labels of these rows, and no other."""
    assert view.labels is not None, "this view has labels"
    labels = torch.full_like(view.labels, IGNORED_LABEL)
    labels[list(rows)] = view.labels[list(rows)]
    return dataclasses.replace(view, labels=labels)


def with_row_token(views: Views, view: str, row: int, token: int) -> Views:
    """The same views with another token at one row."""
    tokens = views[view].tokens.clone()
    assert tokens[row] != token, "another token"
    tokens[row] = token
    return {**views, view: dataclasses.replace(views[view], tokens=tokens)}


def loss_at(objective: Any, views: Views, view: str, row: int) -> torch.Tensor:
    """The sum of all terms with the label at `row` of `view` as the only one of that view."""
    terms = objective({**views, view: with_labels_only(views[view], [row])})
    return sum(value for value, _ in terms.values())


def influences(objective: Any, views: Views, view: str, row: int) -> list[torch.Tensor]:
    """For each time the embedding is read, in order: which of its rows have a gradient in `loss_at`, bool [T]."""
    alone = {**views, view: with_labels_only(views[view], [row])}
    gradients = _gradients(objective, objective.model.embedding, alone)
    return [(gradient != 0).any(-1) for gradient in gradients]


def row_gradients(objective: Any, embedding: nn.Module, views: Views, *terms: str) -> list[torch.Tensor]:
    """[T] per call of `embedding`: the norm of the gradient of these terms (all, if none) at each row it gave."""
    return [gradient.norm(dim=-1) for gradient in _gradients(objective, embedding, views, *terms)]


def _gradients(objective: Any, embedding: nn.Module, views: Views, *terms: str) -> list[torch.Tensor]:
    """[T, W] per call of `embedding`, each call's rows taken as independent of the others."""
    given: list[torch.Tensor] = []

    def keep(module: nn.Module, inputs: Any, output: torch.Tensor) -> torch.Tensor:
        given.append(output.detach().requires_grad_())
        return given[-1]

    handle = embedding.register_forward_hook(keep)
    found = objective(views)
    handle.remove()
    loss = sum(found[term][0] for term in terms or found)
    gradients = torch.autograd.grad(loss, given, allow_unused=True)
    return [
        torch.zeros_like(rows) if gradient is None else gradient
        for rows, gradient in zip(given, gradients, strict=True)
    ]


def untouched_parameters(objective: Any, views: Views, *terms: str) -> set[str]:
    """The names of the parameters that these terms (all, if none) have no gradient for, or one of zeros."""
    found = objective(views)
    names, parameters = zip(*objective.named_parameters(), strict=True)
    loss = sum(found[term][0] for term in terms or found)
    gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
    return {name for name, gradient in zip(names, gradients, strict=True) if gradient is None or not gradient.any()}
