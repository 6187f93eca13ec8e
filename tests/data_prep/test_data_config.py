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
