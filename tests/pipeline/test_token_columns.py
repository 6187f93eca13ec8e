"""Columns on their way from a shard into a sample: every token keeps its own, and nothing else changes."""

from pathlib import Path

import numpy as np
import pytest

from data_prep.errors import InputError
from data_prep.shards import Column, Dataset
from data_prep.tokenizer.special import SpecialTokens
from pipeline.batch import IGNORED_LABEL
from pipeline.corruption.config import CorruptionConfig
from pipeline.corruption.corruption import Corruption
from pipeline.stream import Stream, StreamConfig
from pipeline.token_columns import BEGINS, CONTINUES, OUTSIDE, WantedColumn, token_column
from tests.shards import Documents, write_columned

TYPES = {
    "weight": Column(dtype="uint8", per="token"),
    "spans": Column(dtype="int32", per="span", kinds=["identifier", "comment"]),
}
NESTED = np.array([[1, 6, 1], [2, 4, 0], [4, 7, 0], [8, 9, 0]], np.int32)  # start, stop, kind


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two shards of documents whose weights follow from their tokens; every document of 10 or more has NESTED spans."""
    folder = tmp_path_factory.mktemp("dataset")
    write_columned(folder, (documents(shard) for shard in range(2)), TYPES, 300)
    return folder


def documents(shard: int) -> Documents:
    for number in range(40):
        tokens = (np.arange((number * 37 + shard) % 90) * 13 + number) % 1000
        spans = NESTED if len(tokens) >= 10 else NESTED[:0]
        yield f"{shard}-{number}", tokens, {"weight": (tokens % 251).astype(np.uint8), "spans": spans}


def stream(folder: Path, *columns: WantedColumn) -> Stream:
    return Stream(Dataset.open(folder).split("train"), StreamConfig(window=50, max_pieces=4), 1, columns=columns)


def test_every_token_of_a_sample_has_its_own_weight(folder: Path) -> None:
    weighted = stream(folder, WantedColumn("weight"))
    for position in range(len(weighted)):
        sample = weighted.sample(position)
        assert sample.columns["weight"].dtype == np.uint8
        assert sample.columns["weight"].tolist() == (sample.tokens % 251).tolist()


def test_a_stream_with_columns_gives_the_tokens_and_the_fingerprint_of_one_without(folder: Path) -> None:
    without, with_columns = stream(folder), stream(folder, WantedColumn("weight"), WantedColumn("spans"))
    assert without.fingerprint == with_columns.fingerprint
    assert without.sample(0).columns == {}
    for position in range(0, len(without), 3):
        assert without.sample(position).tokens.tolist() == with_columns.sample(position).tokens.tolist()


@pytest.mark.parametrize(
    ("kinds", "expected"),
    [
        ((), [2, 1, 0, 0, 0, 0, 2, 2, 1, 2]),
        (("identifier", "comment"), [2, 1, 0, 0, 0, 0, 2, 2, 1, 2]),
        (("comment",), [2, 1, 0, 0, 0, 0, 2, 2, 2, 2]),
        (("identifier",), [2, 2, 1, 0, 1, 0, 0, 2, 1, 2]),
    ],
)
def test_spans_become_marks_and_the_outer_one_of_two_that_overlap_stays(
    folder: Path, kinds: tuple[str, ...], expected: list[int]
) -> None:
    assert (CONTINUES, BEGINS, OUTSIDE) == (0, 1, 2)
    split = Dataset.open(folder).split("train")
    marks = token_column(split, 0, WantedColumn("spans", kinds))
    docs = split.chunk(0).docs
    for start, stop in zip(docs[:-1].tolist(), docs[1:].tolist(), strict=True):
        assert marks[start:stop].tolist() == (expected + [2] * 90)[: stop - start] or stop - start < 10
        assert stop - start >= 10 or set(marks[start:stop].tolist()) <= {OUTSIDE}


def test_a_kind_the_dataset_does_not_know_is_refused(folder: Path) -> None:
    with pytest.raises(InputError, match=r"no spans of kind 'element'. It has: identifier, comment"):
        stream(folder, WantedColumn("spans", ("element",)))


def test_a_corruption_takes_the_spans_that_the_stream_brings(folder: Path) -> None:
    config = CorruptionConfig.model_validate(
        {
            "select": {"kind": "given_spans", "kinds": ["identifier"], "rate": 1.0},
            "replace": {"kind": "token_by_token", "mask": 1.0, "random": 0.0},
            "layout": {"kind": "in_place", "ends": False},
        }
    )
    source = stream(folder, *config.columns)
    made = Corruption(config, SpecialTokens(), 1000, window=50, max_pieces=4, seed=0)
    for first in range(0, len(source) - 3, 3):
        samples = [source.sample(first + i) for i in range(3)]
        view = made.apply(samples).views["encoder"]
        hidden = view.labels[: view.num_rows] != IGNORED_LABEL
        marks = np.concatenate([sample.columns["spans"] for sample in samples])
        assert hidden.tolist() == (marks != OUTSIDE).tolist()
