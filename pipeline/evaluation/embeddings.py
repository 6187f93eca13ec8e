"""What can be said of a table of embeddings without a task.

TEV (Chung et al. 2024, "Stable Language Model Pre-training by Reducing Embedding Variability", section 3): the standard
deviation of each token's embedding over its dimensions; its mean and its spread over the vocabulary. Where they grow,
so do gradients, and training is less stable.
"""

import torch


def token_embedding_variability(table_VW: torch.Tensor) -> tuple[float, float]:
    """(mean, standard deviation) over the vocabulary of each row's standard deviation (over W - 1), in float64."""
    deviations_V = table_VW.to(torch.float64).std(1)
    return float(deviations_V.mean()), float(deviations_V.std())
