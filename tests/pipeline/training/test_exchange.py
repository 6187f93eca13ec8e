"""Gradients and weights that ranks send each other straight."""

import json
from pathlib import Path

import pytest
import torch

from tests.pipeline.training.conftest import run_ranks
from tests.pipeline.training.exchange_rank import SIZES, gradients_of


def test_every_rank_has_the_sum_of_its_own_gradients_and_the_weights_of_all(tmp_path: Path) -> None:
    codes, output = run_ranks("exchange_rank.py", len(SIZES), tmp_path)
    assert codes == [0] * len(SIZES), output
    given = [gradients_of(rank) for rank in SIZES]
    for rank, sizes in SIZES.items():
        found = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        others = [other for other in SIZES if other != rank]
        for number in range(len(sizes)):
            expected = given[rank][rank][number]
            for other in others:
                expected = expected + given[other][rank][number]
            assert torch.equal(found["own"][number], expected)
        assert torch.equal(found["weights"], torch.arange(3.0)[:, None] + torch.arange(4.0) / 8)


@pytest.mark.long
def test_on_two_ranks_weights_are_those_of_deepspeeds_own_way_to_the_bit(tmp_path: Path) -> None:
    reports = {}
    for way in ("sending", "deepspeed"):
        codes, output = run_ranks("exchanging_engine_rank.py", 2, tmp_path / way, way)
        assert codes == [0, 0], output
        reports[way] = json.loads((tmp_path / way).read_text())
    assert reports["sending"]["sums"] > 0 == reports["deepspeed"]["sums"]
    assert reports["sending"]["steps"] == reports["deepspeed"]["steps"]
    assert reports["sending"]["steps"][0] != reports["sending"]["steps"][-1]
