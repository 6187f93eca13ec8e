"""First weights: each parameter drawn from a generator of its own, seeded by SHA-256(seed, parameter name).

So a parameter's first value depends on nothing but the seed, its name and its shape: not on the order of construction,
the number of ranks or the parts beside it. T5's standard deviations are as in its code (Mesh TensorFlow; scores are not
scaled, so the query takes d_kv's share); the untied head takes d_model ** -0.5, as in T5X. Every other architecture
draws all matrices with one deviation. Norms start at `initializer_factor` (1), biases at 0.
"""

import hashlib

import torch
from torch import nn

from pipeline.model.config import ModelConfig
from pipeline.model.positions import Positions


@torch.no_grad()
def initialise(model: nn.Module, config: ModelConfig, seed: int, prefix: str = "") -> None:
    """Draw every parameter of `model` in place (float32, on CPU).

    `prefix` is put before the names: a part trained beside the model gives its own, to have draws of its own.
    """
    for name, parameter in model.named_parameters():
        path, _, own_name = name.rpartition(".")
        module = model.get_submodule(path)
        own = module.initial(own_name) if isinstance(module, Positions) else None
        if own is not None:
            parameter.normal_(*own, generator=parameter_generator(seed, prefix + name))
            continue
        if name.rsplit(".", maxsplit=1)[-1] == "bias":
            parameter.zero_()
            continue
        deviation = standard_deviation(name, config)
        if deviation is None:
            parameter.fill_(config.initializer_factor)
        else:
            generator = parameter_generator(seed, prefix + name)
            parameter.normal_(0.0, config.initializer_factor * deviation, generator=generator)


def parameter_generator(seed: int, name: str) -> torch.Generator:
    """The generator that draws the parameter `name` in the run with `seed`."""
    digest = hashlib.sha256(f"{seed}/initialisation/{name}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little", signed=True))


def standard_deviation(name: str, config: ModelConfig) -> float | None:
    """The deviation of the weight `name` before `initializer_factor`; None for a norm's weight, a constant."""
    owner = name.split(".")[-2] if "." in name else name
    if owner == "norm" or owner.endswith("_norm"):
        return None
    if config.layers.deviation is not None:
        return config.layers.deviation
    deviations = {
        "embedding": 1.0,
        "query": (config.d_model * config.d_kv) ** -0.5,
        "output": (config.num_heads * config.d_kv) ** -0.5,
        "down": config.d_ff**-0.5,
    }
    return deviations.get(owner, config.d_model**-0.5)
