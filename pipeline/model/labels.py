"""The rows of a view that carry a label: what a head is asked about."""

import torch

from pipeline.batch import IGNORED_LABEL, Batch


def labelled(view: Batch) -> tuple[torch.Tensor, torch.Tensor]:
    """The rows [L] that carry a label (int64), and their labels [L]."""
    assert view.labels is not None, "this view has labels"
    rows_L = torch.nonzero(view.labels != IGNORED_LABEL).squeeze(1)
    return rows_L, view.labels[rows_L]


def at_labels(view: Batch, values_L: torch.Tensor) -> torch.Tensor:
    """[T]: `values_L` at the rows that carry a label, IGNORED_LABEL elsewhere."""
    assert view.labels is not None, "this view has labels"
    spread_T = torch.full_like(view.labels, IGNORED_LABEL)
    return spread_T.masked_scatter(view.labels != IGNORED_LABEL, values_L.to(spread_T.dtype))
