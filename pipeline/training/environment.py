"""What bit-exactness depends on besides the run's own config: recorded in checkpoints, compared on resume."""

from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from pipeline.training.config import TrainingConfig
from pipeline.training.rank import Rank


def describe_environment(config: TrainingConfig, rank: Rank, threads: int) -> dict[str, Any]:
    """Ranks, ZeRO stage, micro-batch, threads, processor and versions of this start of the run."""
    return {
        "world_size": rank.world_size,
        "zero_stage": config.zero_stage,
        "micro_batch": config.micro_batch,
        "threads": threads,
        "processor": processor_name(rank.device),
        "torch": torch.__version__,
        "deepspeed": version("deepspeed"),
    }


def processor_name(device: torch.device) -> str:
    """The GPU's or the CPU's model name."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return "unknown CPU"


def environment_changes(saved: dict[str, Any], current: dict[str, Any]) -> list[str]:
    """What differs between two starts of a run, as 'what: old -> new'; nothing where no run saved (`train --init`)."""
    if not saved:
        return []
    return [f"{key}: {saved.get(key)} -> {value}" for key, value in current.items() if saved.get(key) != value]
