"""docs/recipes.md is what the recipes say of themselves; what docs/new-recipe.md and docs/schedules.md show runs."""

import importlib.util
import json
import re
import shlex
from pathlib import Path
from typing import Any, get_args

import pytest
from click.testing import CliRunner

from launch.cli import cli
from launch.listing import recipe_facts
from pipeline.config import load_config
from pipeline.training.config import TrainingConfig
from pipeline.training.deepspeed_config import derive_deepspeed_config
from pipeline.training.schedule import step_plan
from tests.e2e.conftest import python_sources, spanwright, write_jsonl
from tests.recipes.conftest import dataset as dataset
from tests.recipes.small import RECIPES, small, train

DOCS = Path(__file__).parents[2] / "docs"
NEW_RECIPE = (DOCS / "new-recipe.md").read_text(encoding="utf-8")
SCHEDULES = (DOCS / "schedules.md").read_text(encoding="utf-8")


def blocks(page: str, language: str = "") -> list[str]:
    found = re.findall(r"^```(\w*)\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    return [text for of, text in found if of == language]


def module_of(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, DOCS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_of_recipes_is_what_they_say_of_themselves() -> None:
    written = (DOCS / "recipes.md").read_text(encoding="utf-8")
    assert written == module_of("recipe_table").page(recipe_facts()), "run: python docs/recipe_table.py"


def test_the_page_and_picture_of_curves_are_drawn_from_a_record_of_every_recipe() -> None:
    learning = module_of("learning")
    record = json.loads(learning.RECORD.read_text(encoding="utf-8"))
    assert sorted(record["curves"]) == RECIPES
    assert learning.PAGE.read_text(encoding="utf-8") == learning.page(record), "run: python docs/learning.py"
    assert learning.PICTURE.read_text(encoding="utf-8") == learning.picture(record)
    for curve in record["curves"].values():
        assert sum(losses[-1] for losses in curve.values()) < sum(losses[0] for losses in curve.values())


def test_the_example_of_a_new_recipe_is_a_yaml_alone_and_learns(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("spanbert.yaml").write_text(blocks(NEW_RECIPE, "yaml")[0])
    _, _, before, after = train(small("spanbert.yaml", dataset), steps=40)
    assert after < 0.9 * before

    prep, inspect, run = blocks(NEW_RECIPE)[-1].splitlines()
    assert prep == "spanwright prep spanbert.yaml data.paths=[my.jsonl]"
    for command in (inspect, run.replace("spanwright run", "spanwright plan")):
        shown = CliRunner().invoke(cli, [*shlex.split(command)[1:], f"data.dir={dataset}"])
        assert shown.exit_code == 0, shown.output
    assert load_config("spanbert.yaml", shlex.split(run)[3:]).training.steps == 20


@pytest.mark.long
def test_the_commands_of_the_new_recipe_page_end_in_a_model_for_transformers(tmp_path: Path) -> None:
    (tmp_path / "spanbert.yaml").write_text(blocks(NEW_RECIPE, "yaml")[0])
    write_jsonl(tmp_path / "my.jsonl", [text for name in ("json", "email", "logging") for text in python_sources(name)])
    small = ["data.tokenizer.vocab_size=1000", "data.workers=1"]  # fourteen files are no corpus for 30,000 pieces
    for command in blocks(NEW_RECIPE)[-1].splitlines():
        done = spanwright(*shlex.split(command)[1:], *small, cwd=tmp_path)
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    exported = tmp_path / "runs" / "spanbert" / "export" / "hf"
    assert json.loads((exported / "config.json").read_text(encoding="utf-8"))["architectures"] == ["BertForMaskedLM"]


@pytest.mark.parametrize("example", blocks(SCHEDULES, "yaml"))
def test_every_schedule_of_the_page_can_be_run(example: str, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(example)
    config = load_config(str(tmp_path / "mine.yaml"), ["data.paths=[corpus]"])
    training = config.training
    assert config.phases or training.groups or training.loss_weights or training.random_ltd
    assert step_plan(training, training.steps - 1).frozen == frozenset()


def test_the_page_on_optimizers_has_every_one_and_its_settings_are_configs(tmp_path: Path) -> None:
    page = (DOCS / "optimizers.md").read_text(encoding="utf-8")
    offered = get_args(TrainingConfig.model_fields["optimizer"].annotation)
    assert re.findall(r"^\| `(\w+)`[^|]*\|", page, re.MULTILINE)[1 : 1 + len(offered)] == list(offered)  # below a head
    for example in blocks(page, "yaml"):
        (tmp_path / "mine.yaml").write_text(example)
        config = load_config(str(tmp_path / "mine.yaml"), ["data.paths=[corpus]"])
        assert config.training.optimizer in offered


def test_the_settings_of_the_page_on_gpus_are_a_config(tmp_path: Path) -> None:
    [example] = blocks((DOCS / "gpu-tuning.md").read_text(encoding="utf-8"), "yaml")
    (tmp_path / "mine.yaml").write_text(example)
    config = load_config(str(tmp_path / "mine.yaml"), ["data.paths=[corpus]"])
    derived = derive_deepspeed_config(config.training, world_size=8, overrides=config.deepspeed)
    assert derived["zero_optimization"]["overlap_comm"]
    assert derived["gradient_accumulation_steps"] == 8
