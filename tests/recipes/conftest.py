"""One real dataset with every column, for all recipes."""

import shutil
import sysconfig
from pathlib import Path

import pytest

from data_prep.config import DataConfig
from data_prep.driver import prepare


@pytest.fixture(autouse=True)
def _on_one_thread(one_thread: None) -> None:
    """All tests of this folder."""


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three packages of the standard library, tokenized with words, sentences, spans and importance, by Ray."""
    folder = tmp_path_factory.mktemp("recipes")
    stdlib = Path(sysconfig.get_paths()["stdlib"])
    for package in ("json", "email", "logging"):
        shutil.copytree(stdlib / package, folder / package, ignore=shutil.ignore_patterns("__pycache__", "*.rst"))
    config = DataConfig.model_validate(
        {
            "paths": [str(folder)],
            "heldout_fraction": 0.1,
            "workers": 1,
            "tokenizer": {"vocab_size": 1000, "sample_bytes": 200_000},
            "columns": {"words": "unicode", "sents": "rules", "spans": "code", "weight": "idf"},
            "shards": {"chunk_tokens": 8192, "window_sizes": [64]},
        }
    )
    out = tmp_path_factory.mktemp("recipes_data") / "data"
    prepare(config, out)
    return out
