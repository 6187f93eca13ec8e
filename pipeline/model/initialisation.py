"""T5's initial weights: each parameter drawn from a generator of its own, seeded by SHA-256(seed, parameter name).

So a parameter's first value depends on nothing but the seed, its name and its shape: not on the order of construction,
the number of ranks or the parts beside it. Standard deviations as in T5's code (Mesh TensorFlow; scores are not scaled,
so the query takes d_kv's share); the untied head takes d_model ** -0.5, as in T5X.
"""

import hashlib

import torch
from torch import nn

from pipeline.model.config import ModelConfig


@torch.no_grad()
def initialise(model: nn.Module, config: ModelConfig, seed: int) -> None:
    """Draw every parameter of `model` in place (float32, on CPU)."""
    for name, parameter in model.named_parameters():
        deviation = standard_deviation(name, config)
        if deviation is None:
            parameter.fill_(config.initializer_factor)
        else:
            parameter.normal_(0.0, config.initializer_factor * deviation, generator=parameter_generator(seed, name))


def parameter_generator(seed: int, name: str) -> torch.Generator:
    """The generator that draws the parameter `name` in the run with `seed`."""
    digest = hashlib.sha256(f"{seed}/initialisation/{name}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little", signed=True))


def standard_deviation(name: str, config: ModelConfig) -> float | None:
    """The deviation of the parameter `name` before `initializer_factor`; None for a norm's weight, a constant."""
    owner = name.split(".")[-2]
    if owner == "norm" or owner.endswith("_norm"):
        return None
    deviations = {
        "embedding": 1.0,
        "head": config.d_model**-0.5,
        "query": (config.d_model * config.d_kv) ** -0.5,
        "key": config.d_model**-0.5,
        "value": config.d_model**-0.5,
        "output": (config.num_heads * config.d_kv) ** -0.5,
        "gate": config.d_model**-0.5,
        "up": config.d_model**-0.5,
        "down": config.d_ff**-0.5,
        "positions": config.d_model**-0.5,
        "table": config.d_model**-0.5,
    }
    return deviations[owner]
