"""DeepSpeed steps as plain torch does: two and three real ranks, every ZeRO stage, accumulation, unequal counts."""

import json
from typing import Any

import pytest

from .conftest import run_ranks

WHOLE = ("adamw/fp32", "adamw/bf16", "rms_adamw/fp32")
STAGES = [f"{kind}/{stage}" for kind in WHOLE for stage in range(4)] + ["rms_adamw/bf16/0", "rms_adamw/bf16/2"]


@pytest.fixture(scope="module", params=[2, pytest.param(3, marks=pytest.mark.long)])
def report(request, tmp_path_factory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("ranks")
    codes, output = run_ranks("engine_rank.py", request.param, folder)
    assert codes == [0] * request.param, output[-3000:]
    found = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    assert list(found["stages"]) == STAGES
    return found


@pytest.mark.parametrize("stage", STAGES)
def test_loss_and_gradient_norm_are_plain_torchs(report, stage):
    # fp32 differs in the order of sums alone; bf16 has 8 bits of mantissa in weights, activations and gradients.
    tolerance = 2e-6 if "fp32" in stage else 2e-2
    for reached, expected in zip(
        report["stages"][stage]["figures"], report["expected"][stage.split("/")[0]], strict=True
    ):
        assert reached == pytest.approx(expected, rel=tolerance)


@pytest.mark.parametrize("stage", STAGES)
def test_the_gradient_of_every_parameter_is_plain_torchs(report, stage):
    # Relative norm of the difference; the tolerances are those of the loss, for the same reasons.
    off_by = report["stages"][stage]["gradients_off_by"]
    assert sorted(off_by) == ["embedding", "matrix", "scale", "shift"]
    assert max(off_by.values()) < (2e-6 if "fp32" in stage else 2e-2), off_by


@pytest.mark.parametrize("stage", [stage for stage in STAGES if "fp32" in stage])
def test_weights_after_three_steps_are_plain_torchs(report, stage):
    assert report["stages"][stage]["weights_off_by"] < 1e-6  # weights of about 1 in float32


@pytest.mark.parametrize("stage", STAGES)
def test_state_written_into_a_new_engine_is_read_back_and_continues_bit_equal(report, stage):
    assert report["stages"][stage]["read_back"]
    assert report["stages"][stage]["resumed_bit_equal"]


@pytest.mark.parametrize("stage", STAGES)
def test_state_of_another_stage_is_read_back_bit_equal_and_continues(report, stage):
    of_stage = report["stages"][stage]
    assert of_stage["other_stage_read_back"]
    tolerance = 2e-6 if "fp32" in stage else 2e-2
    assert of_stage["other_stage"][0] == pytest.approx(of_stage["straight"][0], rel=tolerance)
