"""A small tokenizer of mixed text, trained once."""

import dataclasses
from pathlib import Path

import pytest

from data_prep.config import TokenizerConfig
from data_prep.tokenizer.tokenizer import MODEL_NAME, Tokenizer
from data_prep.tokenizer.train import train_model

PROSE = (
    "Dr. Who met J. Doe in Bern. They spoke of 3.5 francs, didn't they? Yes! »Das ist schön«, sagte sie.\n"
    "Это предложение. Вот второе. 私は東京大学の学生です。他来到了北京。\n"
) * 40


@pytest.fixture(scope="session")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    folder = tmp_path_factory.mktemp("tokenizer")
    source = Path(dataclasses.__file__).read_text(encoding="utf-8")
    (folder / MODEL_NAME).write_bytes(train_model([source, PROSE], TokenizerConfig(vocab_size=900)).model)
    return Tokenizer.load(folder)
