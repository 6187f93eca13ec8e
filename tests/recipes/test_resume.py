"""Every recipe goes on bit-exactly from its state, and trains on two ranks as on one, under ZeRO 2 and 3.

Two launches serve several recipes: one rank without ZeRO, and two ranks.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.pipeline.training.conftest import run_ranks
from tests.recipes.small import RECIPES

# In `make test`: the recipes with the most state beside the model.
REDUCED = ("cocondenser", "electra", "t5_span scheduled")  # cocondenser: with its gradient cache
ALL = (*RECIPES, "cocondenser small groups")
# fp32 on two ranks differs from one in the order of sums alone: about 1e-6 in four steps.
TOLERANCE = 2e-5
SCRIPT = Path(__file__).with_name("zero_rank.py")


def check(recipes: list[str], dataset: Path, folder: Path, timeout: float = 240.0) -> dict[int, Any]:
    reports = {}
    for ranks in (1, 2):
        report = folder / f"{ranks}.json"
        codes, output = run_ranks(str(SCRIPT), ranks, dataset, report, *recipes, timeout=timeout)
        assert codes == [0] * ranks, output
        reports[ranks] = json.loads(report.read_text())
    for recipe in recipes:
        one = reports[1][recipe]["0"]
        for stages in (reports[1][recipe], reports[2][recipe]):
            for stage, done in stages.items():
                assert done["resumed"] == done["straight"], (recipe, stage)
                assert done["losses"] == pytest.approx(one["losses"], rel=TOLERANCE), (recipe, stage)
        assert one["losses"][-1] < one["losses"][0], recipe
    return reports


def test_recipes_with_the_most_state_resume_bit_exact_and_train_on_two_ranks_as_on_one(
    dataset: Path, tmp_path: Path
) -> None:
    reports = check([*REDUCED], dataset, tmp_path)

    # A frozen group keeps its weights and has no moments, under every stage; then it moves.
    for done in (reports[1]["t5_span scheduled"]["0"], *reports[2]["t5_span scheduled"].values()):
        frozen = [name for name in done["moved_later"] if name.startswith("model.encoder.")]
        assert len(frozen) > 10
        assert done["unmoved"] == done["untouched"] == frozen


@pytest.mark.long
@pytest.mark.parametrize("recipes", [[*ALL[n : n + 3]] for n in range(0, len(ALL), 3)], ids=" ".join)
def test_every_recipe_resumes_bit_exact_and_trains_on_two_ranks_as_on_one(
    recipes: list[str], dataset: Path, tmp_path: Path
) -> None:
    check(recipes, dataset, tmp_path, timeout=900.0)
