"""What a recipe says of itself is true of it."""

import json
import re

import pytest

from launch.listing import JSON_FIELDS, recipe_facts, recipes_json
from pipeline.config import load_config
from pipeline.config_files import builtin_configs
from pipeline.export.layouts import layout_of
from tests.recipes.small import RECIPES

TRAINING = "training:           # presets, where no line says otherwise"
FACTS = {fact["name"]: fact for fact in recipe_facts()}


@pytest.mark.parametrize("recipe", RECIPES)
def test_the_yaml_names_its_paper_and_section(recipe: str) -> None:
    text = (builtin_configs() / "recipes" / f"{recipe}.yaml").read_text(encoding="utf-8")
    assert re.search(r"arXiv:\d{4}\.\d{4,5}", text)
    assert "section" in FACTS[recipe]["source"]


@pytest.mark.parametrize("recipe", RECIPES)
def test_the_facts_are_complete_and_the_export_is_the_models_own_class(recipe: str) -> None:
    fact = FACTS[recipe]
    assert fact.keys() == {*JSON_FIELDS, "summary"}
    assert fact["parameters"] > 1_000_000
    assert fact["export"] == layout_of(load_config(recipe, ["data.paths=[corpus]"]).model).HEAD_CLASS
    assert all(variant in FACTS for variant in fact["variants"])


def test_programs_get_exactly_the_fields_that_are_promised() -> None:
    listed = json.loads(recipes_json(list(FACTS.values())))
    assert [fact["name"] for fact in listed] == RECIPES
    promised = ["name", "family", "needs", "parameters", "export", "source", "variants"]
    assert all(list(fact) == promised for fact in listed)


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_number_of_training_says_where_it_is_from_or_is_called_a_preset(recipe: str) -> None:
    lines = (builtin_configs() / "recipes" / f"{recipe}.yaml").read_text(encoding="utf-8").splitlines()
    section = lines[lines.index(TRAINING) :] if TRAINING in lines else []
    assert section or not any(line.startswith("training:") for line in lines)
    for line in section[1:]:
        comment = line.partition("#")[2]
        assert not comment or re.search(r"section|appendix|table|released|RoBERTa", comment), line
