"""The optimizer of a run: decoupled weight decay, and none on vectors."""

import torch
from torch import nn

from pipeline.training.config import TrainingConfig
from pipeline.training.groups import REST, groups_of
from pipeline.training.rms_adamw import RmsScaledAdamW


def build_optimizer(objective: nn.Module, config: TrainingConfig) -> torch.optim.AdamW:
    """Over the parameters that are trained, by groups; each group's rate (0 at first) is set at every step."""
    trained = {name: parameter for name, parameter in objective.named_parameters() if parameter.requires_grad}
    group_of = groups_of(config.groups, trained)
    groups = []
    for group in (*config.groups, REST):
        own = [parameter for name, parameter in trained.items() if group_of[name] == group]
        groups.append({"params": [p for p in own if p.ndim > 1], "weight_decay": config.weight_decay, "group": group})
        groups.append({"params": [p for p in own if p.ndim <= 1], "weight_decay": 0.0, "group": group})
    # The rate is set at every step; 0 keeps whatever DeepSpeed steps at start from moving the weights.
    kind = {"adamw": torch.optim.AdamW, "rms_adamw": RmsScaledAdamW}[config.optimizer]
    return kind([group for group in groups if group["params"]], lr=0.0, betas=config.betas, eps=config.eps, fused=True)
