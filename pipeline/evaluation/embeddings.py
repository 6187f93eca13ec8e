"""What can be said of a table of embeddings without a task.

TEV (Chung et al. 2024, "Stable Language Model Pre-training by Reducing Embedding Variability", section 3): the standard
deviation of each token's embedding over its dimensions; its mean and its spread over the vocabulary. Where they grow,
so do gradients, and training is less stable.

It needs two sums of each row, which may come from several ranks (pipeline/training/embedding_table.py).
"""

import torch

ROWS = 1024
"""Rows that are widened to float64 at a time."""


def token_embedding_variability(table_VW: torch.Tensor) -> tuple[float, float]:
    """(mean, standard deviation) over the vocabulary of each row's standard deviation (over W - 1), in float64."""
    return variability_of(row_sums(table_VW), table_VW.shape[1])


def row_sums(rows_RW: torch.Tensor) -> torch.Tensor:
    """The sum of each row and that of its squares, [2, R] float64."""
    sums_2R = rows_RW.new_empty(2, len(rows_RW), dtype=torch.float64)
    for start in range(0, len(rows_RW), ROWS):
        wide = rows_RW[start : start + ROWS].to(torch.float64)
        sums_2R[0, start : start + ROWS] = wide.sum(1)
        sums_2R[1, start : start + ROWS] = torch.linalg.vecdot(wide, wide)
    return sums_2R


def variability_of(sums_2V: torch.Tensor, width: int) -> tuple[float, float]:
    """TEV of the table [V, width] whose `row_sums` these are."""
    means_V, squares_V = sums_2V / width
    # The difference keeps ten digits while a row's mean is below a thousand times its deviation.
    deviations_V = ((squares_V - means_V.square()).clamp(min=0) * width / (width - 1)).sqrt()
    return float(deviations_V.mean()), float(deviations_V.std())
