"""Position schemes that need more than a number per row, on a real corpus."""

from pathlib import Path

import pytest

from pipeline.model.position_config import BipePositions, FirePositions
from pipeline.training.assembly import open_data
from tests.recipes.small import small, train

SCHEMES = {
    "fire": FirePositions(threshold=32.0),  # windows reach beyond it
    "bipe": BipePositions(within="learned"),
    "bipe with alibi": BipePositions(between="alibi"),
}


@pytest.mark.parametrize("name", SCHEMES)
def test_it_learns(name: str, dataset: Path) -> None:
    config = small("t5_span", dataset, "export.to=[]")
    config = config.model_copy(update={"model": config.model.model_copy(update={"positions": SCHEMES[name]})})
    _, losses, before, after = train(config, 15)
    assert after < 0.95 * before, losses


def test_the_columns_a_run_reads_include_the_sentences_and_its_rows_say_theirs(dataset: Path) -> None:
    config = small("t5_span", dataset, "model.positions=bipe", "model.decoder_positions=t5", "export.to=[]")
    assert [wanted.name for wanted in config.columns] == ["sents"]
    views = open_data(config).micro_batches[0].views
    assert views["encoder"].positions.shape == (len(views["encoder"].tokens), 2)
    assert views["decoder"].positions.ndim == 1
    segments = views["encoder"].positions[:, 0]
    assert segments.max() > 1
