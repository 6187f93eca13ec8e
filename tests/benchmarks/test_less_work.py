"""The benchmark of less work per token counts what is computed, and compares at equal FLOPs."""

import json

import pytest

from benchmarks import frame
from benchmarks.less_work import __main__ as less_work
from benchmarks.less_work import plans

pytestmark = pytest.mark.usefixtures("one_thread")


def test_what_a_loss_takes_is_found_between_the_two_runs_on_everything() -> None:
    flops = {"whole": 400, "shorter": 100}
    assert plans._needed(4.0, (4.5, 4.0), flops) == pytest.approx(1.0)
    assert plans._needed(4.5, (4.5, 4.0), flops) == pytest.approx(0.25)
    assert plans._needed(4.25, (4.5, 4.0), flops) == pytest.approx(0.5)


@pytest.mark.long
def test_dropping_tokens_and_masks_costs_less_and_the_shorter_run_as_much(capsys: pytest.CaptureFixture[str]) -> None:
    size = ["--steps", "6", "--windows", "4", "--seeds", "2", "--rounds", "1", "--megabytes", "0.3", "--window", "126"]
    frame.main(less_work.parser(), less_work.measure, [*size, "--json"])
    found = json.loads(capsys.readouterr().out)
    gflop = {name: row["gflop"] for name, row in found["figures"]["cost"].items()}
    assert gflop["3ml"] < 0.8 * gflop["bert"]
    assert gflop["t5_span, 0.25 kept"] < gflop["t5_span, 0.5 kept"] < gflop["t5_span, 1 kept"]
    loss = found["figures"]["loss"]
    assert loss["training_gflop"]["shorter"] == pytest.approx(loss["training_gflop"]["random_ltd"], rel=0.15)
    assert {name: len(losses) for name, losses in loss["heldout_loss"].items()} == dict.fromkeys(loss["steps"], 2)
    assert found["ratios"]["compute_saved"] > 0.1
    assert found["figures"]["warm_up"]["steps"] == {"whole": 6, "short_at_first": 6, "few_at_first": 9}
