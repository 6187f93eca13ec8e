"""DeepSpeed steps as plain torch does: two and three real ranks, every ZeRO stage, accumulation, unequal counts."""

import json
from typing import Any

import pytest
import torch

from pipeline.training.engine import _stage
from pipeline.training.rank import Rank

from .conftest import run_ranks

OPTIMIZERS = ("adamw", "rms_adamw", "lion", "muon", "schedule_free")
ALL = {f"{kind}/{precision}": (0, 1, 2, 3) for kind in OPTIMIZERS for precision in ("fp32", "bf16")}
SOME = {
    **{f"adamw/{precision}": (0, 1, 2, 3) for precision in ("fp32", "bf16")},
    "rms_adamw/fp32": (0, 2, 3),
    "rms_adamw/bf16": (0, 2),  # of bf16 only the start differs: DeepSpeed steps before there are moments
    "lion/fp32": (2, 3),
    "lion/bf16": (0,),
    "muon/fp32": (0, 1, 3),
    "muon/bf16": (0,),
    "schedule_free/fp32": (2, 3),
}


def cases(by_kind: dict[str, tuple[int, ...]]) -> list[str]:
    return [f"{kind}/{stage}" for kind, stages in by_kind.items() for stage in stages]


STAGES = [case if case in cases(SOME) else pytest.param(case, marks=pytest.mark.long) for case in cases(ALL)]


def tolerance(stage: str) -> float:
    """Of losses and gradients: fp32 differs in the order of sums alone, bf16 has 8 bits of mantissa."""
    return 2e-2 if "bf16" in stage else 2e-6


@pytest.fixture(scope="module", params=[2, pytest.param(3, marks=pytest.mark.long)])
def report(request, tmp_path_factory) -> dict[str, Any]:
    """What the ranks found; of all cases where the long ones are asked for."""
    long = any(item.get_closest_marker("long") for item in request.session.items if item.module is request.module)
    folder, wanted = tmp_path_factory.mktemp("ranks"), ALL if long else SOME
    codes, output = run_ranks("engine_rank.py", request.param, folder, json.dumps(wanted))
    assert codes == [0] * request.param, output[-3000:]
    found = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    assert list(found["stages"]) == cases(wanted)
    return found


def test_zero_2_of_a_cpu_alone_is_zero_1() -> None:
    cpu, gpu = torch.device("cpu"), torch.device("cuda", 0)
    ranks = (Rank(0, 1, 0, 1, cpu), Rank(0, 2, 0, 2, cpu), Rank(0, 1, 0, 1, gpu))
    assert [[_stage(asked, rank) for asked in range(4)] for rank in ranks] == [[0, 1, 1, 3], [0, 1, 2, 3], [0, 1, 2, 3]]


@pytest.mark.parametrize("stage", STAGES)
def test_loss_and_gradient_norm_are_plain_torchs(report, stage):
    for reached, expected in zip(
        report["stages"][stage]["figures"], report["expected"][stage.split("/")[0]], strict=True
    ):
        assert reached == pytest.approx(expected, rel=tolerance(stage))


@pytest.mark.parametrize("stage", STAGES)
def test_the_gradient_of_every_parameter_is_plain_torchs(report, stage):
    # Relative norm of the difference, before any step of an optimizer.
    off_by = report["stages"][stage]["gradients_off_by"]
    assert sorted(off_by) == ["blocks.0.matrix", "blocks.1.matrix", "blocks.2.matrix", "embedding", "scale", "shift"]
    assert max(off_by.values()) < (2e-6 if "fp32" in stage else 2e-2), off_by


@pytest.mark.parametrize("stage", [stage for stage in STAGES if "fp32" in str(stage)])
def test_weights_after_three_steps_are_plain_torchs(report, stage):
    # Weights of about 1 in float32, of 24 bits.
    assert report["stages"][stage]["weights_off_by"] < 1e-6


@pytest.mark.parametrize("stage", STAGES)
def test_the_variability_of_the_embedding_is_that_of_the_masters_wherever_they_lie(report, stage):
    of_stage = report["stages"][stage]
    assert of_stage["variability"][1] > 0
    assert of_stage["variability"] == pytest.approx(of_stage["variability_of_masters"], rel=1e-12)  # cut rows: sums


@pytest.mark.parametrize("stage", STAGES)
def test_state_written_into_a_new_engine_is_read_back_and_continues_bit_equal(report, stage):
    assert report["stages"][stage]["read_back"]
    assert report["stages"][stage]["resumed_bit_equal"]


@pytest.mark.parametrize("stage", STAGES)
def test_state_of_another_stage_is_read_back_bit_equal_and_continues(report, stage):
    of_stage = report["stages"][stage]
    assert of_stage["other_stage_read_back"]
    assert of_stage["other_stage"][0] == pytest.approx(of_stage["straight"][0], rel=tolerance(stage))
