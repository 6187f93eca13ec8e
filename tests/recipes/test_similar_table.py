"""`spanwright similar` on a real dataset: a table that its recipe can read."""

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from data_prep.errors import InputError
from data_prep.tokenizer.special import SpecialTokens
from launch.cli import cli
from launch.similar import write_similar
from pipeline.corruption.similar import load_similar
from pipeline.training.assembly import open_data
from tests.recipes.small import DATASET_VOCAB_SIZE, small


def test_the_command_makes_the_table_that_the_recipe_reads(dataset: Path, tmp_path: Path) -> None:
    path = tmp_path / "tables" / "similar.npy"
    place = [f"data.dir={dataset}", f"corruption.replace.table={path}"]
    result = CliRunner().invoke(cli, ["similar", "c_rts", "data.paths=[corpus]", *place], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    table = load_similar(str(path), DATASET_VOCAB_SIZE)
    ordinary = np.setdiff1d(np.arange(DATASET_VOCAB_SIZE), SpecialTokens().all)
    assert np.isin(table[ordinary], ordinary).all()
    assert not (table[ordinary] == ordinary[:, None]).any()
    view = open_data(small("c_rts", dataset, place[1])).micro_batches[0].views["encoder"]
    hidden = view.labels >= 0
    assert all(shown in table[label] for shown, label in zip(view.tokens[hidden], view.labels[hidden], strict=True))


def test_a_recipe_that_draws_no_similar_tokens_needs_no_table(dataset: Path) -> None:
    with pytest.raises(InputError, match="needs no table"):
        write_similar(small("rts", dataset))
