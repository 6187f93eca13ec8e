"""The objective of a run, its `model` and all, with trained weights: in float32 on the CPU, ready to be asked."""

from collections.abc import Mapping

import torch
from torch import nn

from data_prep.errors import SpanwrightError
from pipeline.checkpoint.weights import load_weights, newest_checkpoint
from pipeline.config import RunConfig
from pipeline.objectives import build_objective


def load_objective(config: RunConfig, vocab_size: int) -> nn.Module:
    """With the weights of the newest valid checkpoint; InputError when nothing has been trained."""
    return objective_with(config, vocab_size, load_weights(newest_checkpoint(config.checkpoints)))


def first_objective(config: RunConfig, vocab_size: int) -> nn.Module:
    """With the weights that training begins with."""
    return build_objective(config.objective, config.model, vocab_size, config.run.seed).eval()


def objective_with(config: RunConfig, vocab_size: int, weights: Mapping[str, torch.Tensor]) -> nn.Module:
    """With these weights; SpanwrightError where they are another objective's."""
    objective = first_objective(config, vocab_size)
    parameters = dict(objective.named_parameters())
    if wrong := sorted(weights.keys() ^ parameters.keys()):
        raise SpanwrightError(
            f"{config.checkpoints}: not a checkpoint of this objective: {wrong[0]} is in one of them only"
        )
    with torch.no_grad():
        for name, parameter in sorted(parameters.items()):
            parameter.copy_(weights[name])
    return objective
