"""Recorded kernels: when a run has them, and what it says where they cannot be. (What they compute: test_replay.py.)"""

import dataclasses

import pytest
import torch
from pydantic import ValidationError

from data_prep.errors import InputError
from pipeline.config import load_run
from pipeline.training.assembly import build_engine, open_data
from pipeline.training.config import TrainingConfig
from pipeline.training.memory import no_memory
from pipeline.training.rank import Rank

CPU = Rank(0, 1, 0, 1, torch.device("cpu"))


def test_beside_zero_3_they_are_refused() -> None:
    with pytest.raises(ValidationError, match=r"cuda_graphs is true and zero_stage is 3.*take stage 2 or less"):
        TrainingConfig(steps=1, global_batch=1, micro_batch=1, zero_stage=3, cuda_graphs=True)


def test_a_run_that_asks_for_them_needs_a_gpu(make_run) -> None:
    config = load_run(make_run(cuda_graphs=True))
    with pytest.raises(InputError, match="cuda_graphs=true needs a GPU"):
        build_engine(config, open_data(config), CPU)


def test_heads_that_no_kernel_takes_are_refused_before_anything_is_built(make_run) -> None:
    config = load_run(make_run(cuda_graphs=True, model={"d_kv": 160}))
    with pytest.raises(InputError, match=r"kernels, which take heads up to d_kv=128"):
        build_engine(config, open_data(config), dataclasses.replace(CPU, device=torch.device("cuda", 0)))


def test_a_full_gpu_is_told_with_what_can_still_be_done() -> None:
    training = TrainingConfig(steps=1, global_batch=8, micro_batch=8, zero_stage=2)
    said = no_memory(training, CPU)
    for advice in ("micro_batch below 8", "activation_checkpointing=true", "zero_stage above 2", "cuda_graphs=false"):
        assert advice in said
    done = training.model_copy(update={"micro_batch": 1, "activation_checkpointing": True, "cuda_graphs": False})
    for advice in ("micro_batch", "activation_checkpointing", "cuda_graphs"):
        assert advice not in no_memory(done, CPU)
