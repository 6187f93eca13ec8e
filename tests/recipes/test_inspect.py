"""`spanwright inspect RECIPE --text`: every recipe shows a text, with the columns that preparation would have made."""

import io
import re
import shutil
import sysconfig
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from data_prep.config import DataConfig
from data_prep.driver import prepare
from launch.inspection import inspect_text
from launch.text_columns import columns_of_text
from pipeline.batch import IGNORED_LABEL
from pipeline.token_columns import WantedColumn, token_column
from pipeline.training.assembly import Data, open_data
from tests.recipes.small import RECIPES, small

TEXT = "def greet(name):\n    # Say hello to them. Say it twice.\n    return hello + name + hello\n"
COLUMNS = [WantedColumn(name) for name in ("words", "sents", "spans", "weight")]


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_recipe_shows_a_text_with_encoder_targets_and_colour(recipe: str, dataset: Path) -> None:
    config = small(recipe, dataset)
    out = io.StringIO()
    for panel in inspect_text(config, TEXT):
        Console(file=out, width=150, force_terminal=True, color_system="standard").print(panel)
    shown = out.getvalue()
    assert "\x1b[" in shown, "in colour"
    plain = re.sub("\x1b\\[[0-9;]*m", "", shown)
    assert re.findall(r"position (\d+), sequence 0", plain)[0] == "0"
    assert "│ encoder " in plain
    assert ("│ decoder " in plain) == ("decoder" in config.corruption.views)
    assert "│ target " in plain


def documents(data: Data) -> list[tuple[np.ndarray, dict[str, np.ndarray]]]:
    """The tokens of some training documents, with the stored columns of each."""
    split = data.dataset.split("train")
    chunk = split.chunk(0)
    stored = {name: token_column(split, 0, WantedColumn(name)) for name in data.dataset.manifest.columns}
    bounds = [slice(*chunk.docs[n : n + 2].tolist()) for n in range(len(chunk.docs) - 1)]
    return [(chunk.tokens[part], {name: values[part] for name, values in stored.items()}) for part in bounds[:4]]


def test_the_columns_of_a_text_are_those_that_preparation_stored(dataset: Path) -> None:
    data = open_data(small("bert", dataset))
    for tokens, stored in documents(data):
        made = columns_of_text(data.tokenizer.decode(tokens), tokens, COLUMNS, data)
        for name, values in made.items():
            assert values.tolist() == stored[name].tolist(), name


def test_weights_by_mutual_information_and_n_grams_are_read_off_the_dataset(tmp_path: Path) -> None:
    shutil.copytree(Path(sysconfig.get_paths()["stdlib"]) / "json", tmp_path / "json")
    config = DataConfig.model_validate(
        {
            "paths": [str(tmp_path / "json" / "*.py")],
            "heldout_fraction": 0.0,
            "workers": 1,
            "tokenizer": {"vocab_size": 600},
            "columns": {"sents": "rules", "weight": {"kind": "pmi", "min_count": 2}},
            "shards": {"window_sizes": [64]},
        }
    )
    prepare(config, tmp_path / "data")
    data = open_data(small("pmi_mask", tmp_path / "data", "training.heldout_samples=0"))
    wanted = [WantedColumn("weight"), WantedColumn("ngrams")]
    for tokens, stored in documents(data):
        made = columns_of_text(data.tokenizer.decode(tokens), tokens, wanted, data)
        assert made["weight"].tolist() == stored["weight"].tolist()
        assert made["ngrams"].tolist() == stored["ngrams"].tolist()


@pytest.mark.parametrize(("recipe", "by_place"), [("mae_lm", True), ("retromae", True), ("bart", False)])
def test_views_of_the_same_places_stand_under_each_other(recipe: str, by_place: bool, dataset: Path) -> None:
    config = small(recipe, dataset)
    assert config.corruption.alignment == ("places" if by_place else "none")
    [panel] = [p for p in inspect_text(config, "the cat sat on the mat") if hasattr(p, "renderable")]
    if not by_place:
        return
    rows = [(name, texts) for name, texts, _ in panel.renderable.rows]
    (encoder, decoder) = (next(texts for name, texts in rows if name == wanted) for wanted in ("encoder", "decoder"))
    assert len(encoder) == len(decoder)
    data = open_data(config)
    views = data.micro_batches[0].views
    assert (views["decoder"].labels != IGNORED_LABEL).any()
    together = [(e, d) for e, d in zip(encoder, decoder, strict=True) if e and "mask" not in e + d]
    assert together
    if recipe == "mae_lm":
        assert all(e == d for e, d in together)
        assert "" in encoder, "a place that the encoder does not see"
