"""`train --profile`: what is asked for, what a profile's figures say to change, and what it measures itself."""

import dataclasses
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from data_prep.errors import InputError
from launch.start import Start
from pipeline.training.profile.measures import communication_by_part
from pipeline.training.profile.report import Loading, Machine, Profile, Settings, suggestions, summary
from pipeline.training.profile.request import WantedSteps, parse_steps, request_profile, requested_profile

GOOD = Profile(
    first=11, last=20, seconds=1.0, communication=0.0, before=0.98, flops=6e10, peak=1e11,
    parts={"data wait": 0.001, "forward": 0.3, "backward": 0.6, "optimizer": 0.08},
    loading=Loading(workers=1, read_seconds=0.001, mask_seconds=0.004),
    machine=Machine(threads=2, cores=2, ranks=1, own_busy=1.8, others_busy=0.1, memory_gib=4.0, memory_limit_gib=24.0),
    settings=Settings(micro_batch=8, micro_batches=1, ranks=1, zero_stage=2, recomputes=False, save_every=1000),
)  # fmt: skip


def changed(**changes: Any) -> Profile:
    """GOOD with other figures; those of its parts by their own names."""
    own: dict[str, Any] = {}
    for name, value in changes.items():
        for part in ("loading", "settings", "machine"):
            if hasattr(getattr(GOOD, part), name):
                own[part] = dataclasses.replace(own.get(part, getattr(GOOD, part)), **{name: value})
                break
        else:
            own[name] = {**GOOD.parts, **value} if name == "parts" else value
    return dataclasses.replace(GOOD, **own)


def test_a_step_that_computes_all_the_time_is_left_alone() -> None:
    lines = list(summary(GOOD))
    assert lines[0] == "steps 11 to 20 of rank 0: 1.00 s a step (+2% beside the step before the profiler ran)"
    assert lines[1].split() == ["backward", "600.0", "ms", "60.0%", "█" * 18]
    assert "  forward and backward: 66.7 GFLOP/s, 66.7% of the peak of this rank" in lines
    assert lines[-1] == "- nothing stands out: the time goes into the model's own arithmetic"
    assert sum(GOOD.shares.values()) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"parts": {"data wait": 0.2}, "workers": 0}, "training.loader_workers=1: making micro-batches is 20.0%"),
        ({"parts": {"data wait": 0.2}, "mask_seconds": 1.5}, "training.loader_workers=2: a step's micro-batches take"),
        ({"parts": {"data wait": 0.2}}, "waiting for data is 20.0% of the step, though 1 workers need to be busy"),
        (
            {"communication": 0.4, "ranks": 2, "micro_batches": 2, "memory_gib": 14.0},
            "training.micro_batch=16: with ZeRO 2 ranks communicate for every micro-batch, 40% of the step; "
            "half as many would save up to 20%",
        ),
        ({"communication": 0.4, "ranks": 2, "zero_stage": 3}, "training.zero_stage=2, if memory allows"),
        ({"communication": 0.4, "ranks": 2, "zero_stage": 1}, "a larger training.global_batch: communication is 40%"),
        ({"micro_batches": 8}, "training.micro_batch=32: 8 forwards make a step, and a peak of 4.0 of 24.0 GiB leaves"),
        ({"threads": 1}, "training.threads_per_rank=2"),
        ({"threads": 4}, "training.threads_per_rank=2"),
        ({"recomputes": True}, "training.activation_checkpointing=false: it repeats the forward pass in backward"),
        ({"memory_gib": 22.0}, "training.activation_checkpointing=true, or a smaller micro_batch: the peak is 92%"),
        ({"parts": {"optimizer": 0.3}}, "a larger training.global_batch: the update is 30% of the step"),
        ({"parts": {"saving": 0.1}, "save_every": 10}, "a larger checkpoint.save_every: a save held training up for"),
        ({"others_busy": 0.9}, "a quieter machine: other processes (loader workers among them) kept 0.9 of 2 cores"),
    ],
)  # fmt: skip
def test_what_takes_time_that_need_not_is_named_with_its_figures(changes: dict[str, Any], expected: str) -> None:
    [found] = suggestions(changed(**changes))
    assert found.startswith(expected)


def test_communication_counts_once_however_many_calls_overlap() -> None:
    def event(name: str, start: float, end: float) -> SimpleNamespace:
        return SimpleNamespace(name=name, time_range=SimpleNamespace(start=start, end=end))

    events = [
        event("training: forward", 0, 100), event("training: backward", 100, 300), event("aten::mm", 0, 90),
        event("gloo:all_reduce", 90, 120), event("gloo:all_reduce", 110, 150), event("gloo:broadcast", 290, 310),
    ]  # fmt: skip
    inside, total = communication_by_part(events)
    assert inside == pytest.approx({"forward": 10e-6, "backward": 60e-6})
    assert total == pytest.approx(80e-6)
    assert communication_by_part([]) == ({}, 0.0)


def test_steps_are_a_number_or_two(tmp_path: Path) -> None:
    assert parse_steps("5") == WantedSteps(None, 5)
    assert parse_steps("100-104") == WantedSteps(100, 5)
    for wrong in ("0", "x", "5-4", "0-3", "-3", ""):
        with pytest.raises(InputError, match=r"--profile .*: give a number of steps, as 5, or which, as 100-104"):
            Start(profile=wrong).check()
    assert requested_profile(tmp_path) is None
    request_profile(tmp_path / "train", WantedSteps(100, 5))
    assert requested_profile(tmp_path / "train") == WantedSteps(100, 5)
    request_profile(tmp_path / "train", None)
    assert requested_profile(tmp_path / "train") is None
