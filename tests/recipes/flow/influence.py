"""Which rows a loss at one row depends on: by gradient, exactly zero or not, and by what a changed token changes."""

import dataclasses
from typing import Any

import torch

from pipeline.batch import IGNORED_LABEL, Views


def loss_at(objective: Any, views: Views, view: str, row: int) -> torch.Tensor:
    """The sum of all terms with the label at `row` of `view` as the only one of that view."""
    labels = torch.full_like(views[view].labels, IGNORED_LABEL)
    labels[row] = views[view].labels[row]
    terms = objective({**views, view: dataclasses.replace(views[view], labels=labels)})
    return sum(value for value, _ in terms.values())


def influences(objective: Any, views: Views, view: str, row: int) -> list[torch.Tensor]:
    """For each time the embedding is read, in order: which of its rows have a gradient in `loss_at`, bool [T]."""
    read: list[torch.Tensor] = []

    def remember(module: Any, inputs: Any, output: torch.Tensor) -> None:
        output.retain_grad()
        read.append(output)

    hook = objective.model.embedding.register_forward_hook(remember)
    try:
        loss_at(objective, views, view, row).backward()
    finally:
        hook.remove()
        objective.zero_grad()
    return [(output.grad != 0).any(-1) for output in read]


def with_token(views: Views, view: str, row: int, token: int) -> Views:
    """The same views with another token at one row."""
    tokens = views[view].tokens.clone()
    assert tokens[row] != token, "another token"
    tokens[row] = token
    return {**views, view: dataclasses.replace(views[view], tokens=tokens)}
