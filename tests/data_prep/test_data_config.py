from pathlib import Path

import pytest
from pydantic import ValidationError
from ruamel.yaml import YAML

from data_prep.config import DataConfig

CONFIGS = Path(__file__).parents[2] / "configs" / "data"


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.name)
def test_every_data_config_file_loads(path: Path) -> None:
    DataConfig.model_validate(YAML(typ="safe").load(path))


def test_the_stdlib_config_reads_the_interpreters_own_library() -> None:
    config = DataConfig.model_validate(YAML(typ="safe").load(CONFIGS / "stdlib.yaml"))
    assert config.paths == ("python:stdlib",)
    assert config.source is None


def test_one_path_may_be_given_without_a_list() -> None:
    assert DataConfig.model_validate({"paths": "a.txt"}).paths == ("a.txt",)


@pytest.mark.parametrize(
    "bad",
    [
        {"path": ["a.txt"]},
        {"paths": ["a.txt"], "source": "csv"},
        {"heldout_fraction": 0.9},
        {"tokenizer": {"vocab_size": 100}},
        {"tokenizer": {"kind": "wordpiece"}},
        {"max_documents": 0},
        {"name": "../x"},
    ],
)
def test_a_value_that_makes_no_sense_is_refused(bad: dict) -> None:
    with pytest.raises(ValidationError):
        DataConfig.model_validate(bad)


def test_workers_and_folder_are_not_part_of_the_content() -> None:
    content = DataConfig(workers=3, dir="/x").content()
    assert content == DataConfig().content()
    assert "workers" not in content
    assert "dir" not in content


@pytest.mark.parametrize(
    "bad",
    [
        {"max_documents": "100"},
        {"heldout_fraction": "0.1"},
        {"tokenizer": {"vocab_size": "1000"}},
        {"shards": {"window_sizes": ["64"]}},
    ],
)
def test_text_is_not_taken_for_a_number(bad: dict) -> None:
    with pytest.raises(ValidationError, match="not text"):
        DataConfig.model_validate(bad)


def test_numbers_stay_numbers_and_text_stays_text() -> None:
    config = DataConfig.model_validate({"max_documents": 100, "heldout_fraction": 0, "name": "5", "paths": ["7"]})
    assert (config.max_documents, config.heldout_fraction, config.name, config.paths) == (100, 0.0, "5", ("7",))


def test_a_bare_word_is_a_stage_with_its_defaults() -> None:
    config = DataConfig.model_validate({"stages": ["clean", {"kind": "dedup"}]})
    assert config.stages == DataConfig.model_validate({"stages": [{"kind": "clean"}, "dedup"]}).stages
    assert [stage.kind for stage in config.stages] == ["clean", "dedup"]
    assert DataConfig.model_validate({"stages": "clean"}).stages == config.stages[:1]
    assert DataConfig.model_validate_json(config.model_dump_json()) == config
    assert [stage["kind"] for stage in config.content()["stages"]] == ["clean", "dedup"]


@pytest.mark.parametrize(
    ("stages", "where", "message"),
    [
        (["clean", "dedupe"], ("stages", 1), "no stage of kind 'dedupe'; did you mean 'dedup'?"),
        ([{"kind": "zzz"}], ("stages", 0), r"no stage of kind 'zzz' \(there are clean, "),
        ([{"keep": ["de"]}], ("stages", 0), "no stage of kind None"),
        ([{"kind": "dedup", "nearr": True}], ("stages", 0, "nearr"), "not permitted"),
        ([{"kind": "select", "budget_tokens": 5}, "clean"], ("stages",), "select must be the last entry"),
    ],
)
def test_a_wrong_stage_is_named_with_its_place(stages: list, where: tuple, message: str) -> None:
    with pytest.raises(ValidationError, match=message) as raised:
        DataConfig.model_validate({"stages": stages})
    assert raised.value.errors()[0]["loc"] == where


def test_no_stage_and_no_column_is_the_default() -> None:
    config = DataConfig()
    assert config.stages == ()
    assert not any(config.columns.model_dump().values())
    assert config.max_errors is None
