"""The optimizer of a run: decoupled weight decay, and none on vectors."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from pipeline.training.config import TrainingConfig
from pipeline.training.optimizers.groups import REST, groups_of
from pipeline.training.optimizers.lion import Lion
from pipeline.training.optimizers.moments import is_hidden_matrix, moments_of
from pipeline.training.optimizers.muon import Muon
from pipeline.training.optimizers.rms_adamw import RmsScaledAdamW
from pipeline.training.optimizers.schedule_free import ScheduleFreeAdamW

Named = list[tuple[str, nn.Parameter]]


def build_optimizer(objective: nn.Module, config: TrainingConfig) -> torch.optim.Optimizer:
    """Over the parameters that are trained, by groups; each group's rate (0 at first) is set at every step.

    A group of it has, besides its options: `group`, that of the config, `moments`, what is kept of its parameters, and
    `matrices`, whether they are matrices of layers.
    """
    trained = {name: parameter for name, parameter in objective.named_parameters() if parameter.requires_grad}
    group_of = groups_of(config.groups, trained)
    groups = []
    for group in (*config.groups, REST):
        own = [(name, parameter) for name, parameter in trained.items() if group_of[name] == group]
        groups += [{**part, "group": group} for part in _parts(own, config)]
    # The rate is set at every step; 0 keeps whatever DeepSpeed steps at start from moving the weights.
    return _KINDS[config.optimizer](groups, config)


def _parts(own: Named, config: TrainingConfig) -> list[dict[str, Any]]:
    """Parameters that are decayed and stepped alike and have the same moments."""
    parts: dict[Any, list[nn.Parameter]] = {}
    for name, parameter in own:
        decay = config.weight_decay if parameter.ndim > 1 else 0.0
        moments = moments_of(config.optimizer, name, parameter.shape)
        matrices = config.optimizer == "muon" and is_hidden_matrix(name, parameter.shape)
        parts.setdefault((parameter.ndim <= 1, decay, moments, matrices), []).append(parameter)
    return [
        {"params": parts[key], "weight_decay": key[1], "moments": key[2], "matrices": key[3]} for key in sorted(parts)
    ]


def _adamw(kind: type[torch.optim.AdamW]) -> Callable[[Any, TrainingConfig], torch.optim.Optimizer]:
    return lambda groups, config: kind(groups, lr=0.0, betas=config.betas, eps=config.eps, fused=True)


def _muon(groups: Any, config: TrainingConfig) -> torch.optim.Optimizer:
    products = torch.bfloat16 if config.precision == "bf16" else torch.float32
    return Muon(groups, products, lr=0.0, betas=config.betas, eps=config.eps, fused=True)


_KINDS: dict[str, Callable[[Any, TrainingConfig], torch.optim.Optimizer]] = {
    "adamw": _adamw(torch.optim.AdamW),
    "rms_adamw": _adamw(RmsScaledAdamW),
    "muon": _muon,
    "lion": lambda groups, config: Lion(groups, {"lr": 0.0, "betas": config.betas}),
    "schedule_free": lambda groups, config: ScheduleFreeAdamW(
        groups, {"lr": 0.0, "betas": config.betas, "eps": config.eps}
    ),
}
