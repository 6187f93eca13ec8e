"""docs/concepts.md is complete: it names every kind of corruption, position scheme and global stage there is."""

import re
import typing
from pathlib import Path

import pytest

from data_prep.finish import FINISHES
from data_prep.stages import STAGES, is_global, stage_module
from pipeline.corruption.config import CorruptionConfig
from pipeline.model.config import ModelConfig

ROOT = Path(__file__).parents[2]
CONCEPTS = (ROOT / "docs" / "concepts.md").read_text(encoding="utf-8")


def kinds(annotation: object) -> set[str]:
    """The literal `kind` of every member of a union of config models."""
    return {member.model_fields["kind"].default for member in typing.get_args(annotation)}


@pytest.mark.parametrize("part", ["select", "replace", "layout"])
def test_the_table_of_corruption_names_every_kind_and_no_other(part: str) -> None:
    [row] = re.findall(rf"^\| {part} \| (.*) \|$", CONCEPTS, re.MULTILINE)
    assert set(re.findall(r"`(\w+)`", row)) == kinds(CorruptionConfig.model_fields[part].annotation)


def test_every_position_scheme_is_named() -> None:
    [sentence] = re.findall(r"`model\.positions`.*?\.", CONCEPTS, re.DOTALL)
    named = set(re.findall(r"`(\w+)`", sentence)) - {"decoder_positions"}
    assert named == kinds(ModelConfig.model_fields["positions"].annotation)


def test_the_stages_that_see_the_whole_corpus_and_the_finishes_are_named() -> None:
    [stages] = re.findall(r"has to see the whole corpus \((.*?)\)", CONCEPTS, re.DOTALL)
    assert set(re.findall(r"`(\w+)`", stages)) == {kind for kind in STAGES if is_global(stage_module(kind))}
    assert all(f"`{kind}`" in CONCEPTS for kind in FINISHES)


def test_every_file_the_page_names_exists() -> None:
    named = re.findall(r"`((?:data_prep|pipeline)/[\w./-]*)`", CONCEPTS)
    assert named
    assert [name for name in named if not (ROOT / name).exists()] == []
