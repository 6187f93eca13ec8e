"""`spanwright similar`: the table of similar tokens that a recipe's replacements are drawn from."""

import io
from pathlib import Path

import numpy as np

from data_prep.errors import InputError
from data_prep.shards import Dataset
from data_prep.shards.files import publish, staged_bytes
from data_prep.tokenizer import Tokenizer
from pipeline.config import RunConfig
from pipeline.corruption.build_similar import build_similar
from pipeline.corruption.replace import TokenByToken, ordinary_tokens


def write_similar(config: RunConfig) -> Path:
    """Make the table from the run's dataset and write it to `corruption.replace.table`; returns its path."""
    replace = config.corruption.replace
    if not isinstance(replace, TokenByToken) or replace.table is None:
        raise InputError(
            f"corruption.replace: recipe {config.recipe.name} draws no similar tokens, so it needs no table. Recipes "
            "that do have corruption.replace.similar and .table, as c_rts."
        )
    dataset = Dataset.open(config.data_dir)
    tokenizer = Tokenizer.load(dataset.tokenizer_folder)
    ordinary = ordinary_tokens(tokenizer.special, tokenizer.vocab_size)
    table = build_similar(dataset.split("train"), ordinary, tokenizer.vocab_size)
    path = Path(replace.table)
    path.parent.mkdir(parents=True, exist_ok=True)
    publish([staged_bytes(path, _npy(table))])
    return path


def _npy(table: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array(stream, table, allow_pickle=False)
    return stream.getvalue()
