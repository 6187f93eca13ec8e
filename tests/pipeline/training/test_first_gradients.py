"""Gradients that are written where the last step's were: the updates of DeepSpeed's own way, to the bit."""

from typing import Any

import pytest
import torch
from torch import nn

from pipeline.training import engine as engine_module
from pipeline.training.config import TrainingConfig
from pipeline.training.engine import Engine
from pipeline.training.rank import Rank

ALONE = Rank(0, 1, 0, 1, torch.device("cpu"))
CONFIG = TrainingConfig(steps=6, global_batch=2, micro_batch=1, zero_stage=1, learning_rate=0.1)


class Sometimes(nn.Module):
    """A matrix that always has a gradient, and one that has none in some steps."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(3)
        self.always = nn.Parameter(torch.randn(5, 7, generator=generator))
        self.sometimes = nn.Parameter(torch.randn(7, generator=generator))

    def forward(self, views: Any) -> dict[str, tuple[torch.Tensor, int]]:
        row, asked = views
        states = torch.tanh(row.to(self.always.dtype) @ self.always)
        return {"sum": ((states * self.sometimes if asked else states).float().sum(), 1)}


def masters_after_each_step() -> list[list[torch.Tensor]]:
    engine, found = Engine(Sometimes(), CONFIG, ALONE), []
    for step in range(CONFIG.steps):
        for number in range(2):
            row = torch.randn(5, generator=torch.Generator().manual_seed(2 * step + number))
            loss, _ = engine.forward((row, step % 3 == 0 or (step % 3 == 1 and number == 1)))["sum"]
            engine.backward(loss, last=number == 1)
        refused = step == 3  # its gradients must not reach the step after it
        engine.step(0.1, judge=lambda norm, refused=refused: not refused)
        found.append([master.detach().clone() for master in engine.deepspeed.optimizer.fp32_groups_flat_partition])
    return found


@pytest.mark.usefixtures("process_group", "one_thread")
def test_updates_are_deepspeeds_to_the_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_RANK", "0")
    ours, taken = masters_after_each_step(), list[object]()
    monkeypatch.setattr(engine_module, "write_first_gradients", taken.append)
    theirs = masters_after_each_step()
    assert len(taken) == 1
    for step, (own, other) in enumerate(zip(ours, theirs, strict=True)):
        assert all(torch.equal(a, b) for a, b in zip(own, other, strict=True)), f"step {step}"
    assert not torch.equal(ours[0][0], ours[-1][0])
