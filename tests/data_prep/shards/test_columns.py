"""Columns in shards: per token, per document and spans; read back, by anyone, and refused when damaged."""

import hashlib
import io
import json
import random
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import webdataset
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from data_prep.errors import CorruptionError, InputError
from data_prep.shards import (
    Chunk,
    ChunkBuilder,
    Column,
    Dataset,
    Manifest,
    TokenizedDocument,
    audit_dataset,
    canonical,
    write_shard,
)
from tests.shards import write_columned

TYPES = {
    "words": Column(dtype="uint8", per="token"),
    "lang": Column(dtype="uint16", per="document"),
    "spans": Column(dtype="int32", per="span", kinds=["identifier", "comment"]),
}
SMALL = Chunk(
    np.array([5, 6, 7, 8, 9], np.uint16),
    np.array([0, 3, 3, 5]),
    ["a", "empty", "b"],
    {
        "words": np.array([1, 0, 1, 1, 0], np.uint8),
        "lang": np.array([113, 0, 146], np.uint16),
        "spans": np.array([[0, 3, 1], [1, 2, 0], [0, 2, 0]], np.int32),
        "spans_docs": np.array([0, 2, 2, 3]),
    },
)
# The digest of the tar of SMALL. It may only change together with FORMAT_VERSION.
GOLDEN_TAR = "bc2fd97ae19ebb0069e4dd471317f9cd747a90d8b617ac5274dd0fe637bb99dd"


def documents(seed: int = 1, count: int = 50) -> list[TokenizedDocument]:
    """Documents of all lengths, some empty, some without spans."""
    rng = np.random.default_rng(seed)
    made = []
    for number in range(count):
        length = 0 if number % 7 == 3 else int(rng.integers(1, 40))
        starts = np.sort(rng.integers(0, length, int(rng.integers(0, 4)) if length else 0))
        spans = np.stack([starts, rng.integers(starts + 1, length + 1), rng.integers(0, 2, len(starts))], axis=1)
        columns = {
            "words": rng.integers(0, 2, length).astype(np.uint8),
            "lang": rng.integers(0, 999, 1).astype(np.uint16),
            "spans": spans.astype(np.int32),
        }
        made.append(TokenizedDocument(f"{seed}-{number}", rng.integers(0, 1000, length), columns))
    return made


def write(folder: Path, shards: list[list[TokenizedDocument]], types: dict[str, Column] = TYPES) -> Manifest:
    named = ([(document.id, document.token_ids, document.columns) for document in shard] for shard in shards)
    return write_columned(folder, named, types, chunk_tokens=200)


def plain(document: TokenizedDocument) -> tuple[str, list, dict[str, list]]:
    return document.id, document.token_ids.tolist(), {name: part.tolist() for name, part in document.columns.items()}


def read(folder: Path) -> list[TokenizedDocument]:
    split = Dataset.open(folder).split("train")
    return [document for number in range(split.num_chunks) for document in split.chunk(number).documents()]


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    write(tmp_path / "dataset", [documents(1), documents(2)])
    return tmp_path / "dataset"


def test_the_bytes_of_columns_are_those_of_format_version_1(tmp_path: Path) -> None:
    write_shard(tmp_path, "small", [SMALL], ())
    with tarfile.open(tmp_path / "small.tar") as tar:
        members = ("tokens.npy", "docs.npy", "ids.json", "lang.npy", "spans.npy", "spans_docs.npy", "words.npy")
        assert tar.getnames() == [f"000000.{name}" for name in members]
    assert hashlib.sha256((tmp_path / "small.tar").read_bytes()).hexdigest() == GOLDEN_TAR


def test_documents_come_back_with_their_columns(dataset: Path) -> None:
    found = read(dataset)
    assert [plain(document) for document in found] == [plain(document) for document in documents(1) + documents(2)]
    assert {name: str(part.dtype) for name, part in found[0].columns.items()} == {n: c.dtype for n, c in TYPES.items()}
    assert audit_dataset(dataset).problems == []


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(0, 30), min_size=1, max_size=12), st.integers(1, 40), st.integers(0, 10**6))
def test_any_lengths_come_back_however_they_are_cut_into_chunks(lengths: list[int], most: int, seed: int) -> None:
    rng, builder = np.random.default_rng(seed), ChunkBuilder("uint16", most)
    chunks, given_columns = [], []
    for number, length in enumerate(lengths):
        spans = [[start, start + 1, 0] for start in range(0, length, int(rng.integers(1, 9)))]
        columns = {"spans": np.array(spans, np.int32).reshape(-1, 3), "words": np.arange(length, dtype=np.uint8)}
        given_columns.append({name: part.tolist() for name, part in columns.items()})
        chunks.append(builder.add(str(number), np.zeros(length, int), columns))
    found = []
    for chunk in [*chunks, builder.finish()]:
        if chunk is None:
            continue
        chunk.check()
        for d in range(len(chunk.ids)):
            words = chunk.columns["words"][chunk.docs[d] : chunk.docs[d + 1]]
            offsets = chunk.columns["spans_docs"]
            spans = chunk.columns["spans"][offsets[d] : offsets[d + 1]]
            found.append({"spans": spans.tolist(), "words": words.tolist()})
    assert found == given_columns


def test_plain_webdataset_and_tar_read_columns(dataset: Path) -> None:
    samples = list(webdataset.WebDataset(str(dataset / "shard-00000.tar"), shardshuffle=False).decode())
    found = []
    for sample in samples:
        docs, offsets = sample["docs.npy"], sample["spans_docs.npy"]
        for d, name in enumerate(sample["ids.json"]):
            words = sample["words.npy"][docs[d] : docs[d + 1]].tolist()
            spans = sample["spans.npy"][offsets[d] : offsets[d + 1]].tolist()
            found.append((name, {"words": words, "lang": [int(sample["lang.npy"][d])], "spans": spans}))
    assert found == [(name, columns) for name, _, columns in map(plain, documents(1))]
    with tarfile.open(dataset / "shard-00000.tar") as tar:
        file = tar.extractfile("000000.spans.npy")
        assert file is not None
        assert np.load(io.BytesIO(file.read()), allow_pickle=False).shape[1] == 3


def test_every_bit_flip_in_a_column_is_refused_by_name(dataset: Path) -> None:
    path, rng = dataset / "shard-00001.tar", random.Random(5)
    whole = path.read_bytes()
    index = json.loads((dataset / "shard-00001.index").read_bytes())
    names = ("lang.npy", "spans.npy", "spans_docs.npy", "words.npy")
    members = [m for m in index["chunks"][-1]["members"] if m["name"].partition(".")[2] in names]
    assert len(members) == 4
    for member in members:
        for _ in range(20):
            place = rng.randrange(member["offset"] - 512, member["offset"] + member["length"])
            flipped = bytearray(whole)
            flipped[place] ^= 1 << rng.randrange(8)
            path.write_bytes(flipped)
            with pytest.raises(CorruptionError, match=rf"shard-00001\.tar: member {member['name']}"):
                read(dataset)
            assert [problem for problem in audit_dataset(dataset).problems if member["name"] in problem]
    path.write_bytes(whole)
    assert len(read(dataset)) == 100


def rewritten(chunk: Chunk, **columns: Any) -> Chunk:
    return Chunk(chunk.tokens, chunk.docs, chunk.ids, {**chunk.columns, **columns})


@pytest.mark.parametrize(
    ("columns", "problem"),
    [
        ({"spans": np.array([[0, 4, 0], [0, 1, 0], [0, 1, 0]], np.int32)}, "empty or outside its document"),
        ({"spans": np.array([[2, 2, 0], [0, 1, 0], [0, 1, 0]], np.int32)}, "empty or outside its document"),
        ({"spans": np.array([[-1, 2, 0], [0, 1, 0], [0, 1, 0]], np.int32)}, "empty or outside its document"),
        ({"spans": np.array([[0, 1, -1], [0, 1, 0], [0, 1, 0]], np.int32)}, "of a kind that has no name"),
        ({"spans": np.zeros((3, 3), np.int64)}, r"must be \[spans, 3\] int32"),
        ({"spans": np.zeros((3, 2), np.int32)}, r"must be \[spans, 3\] int32"),
        ({"spans_docs": np.array([0, 1, 1, 2])}, "must ascend from 0 to 3"),
        ({"other": np.zeros((2, 3), np.int32)}, "spans without their offsets, other_docs"),
        ({"words": np.zeros(4, np.uint8)}, "neither one per token nor one per document"),
    ],
)
def test_columns_that_do_not_fit_are_not_written(tmp_path: Path, columns: dict, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        write_shard(tmp_path, "shard", [rewritten(SMALL, **columns)], ())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("columns", "problem"),
    [
        ({"words": np.zeros(2, np.uint8)}, "has other columns"),
        ({"words": np.zeros(2, np.int8), "lang": np.zeros(1, np.uint16)}, "column words changes its type"),
    ],
)
def test_a_document_with_other_columns_is_refused(columns: dict, problem: str) -> None:
    builder = ChunkBuilder("uint16")
    builder.add("a", np.array([1, 2]), {"words": np.zeros(2, np.uint8), "lang": np.zeros(1, np.uint16)})

    def add_another() -> None:
        builder.add("b", np.array([1, 2]), columns)
        builder.finish()

    with pytest.raises(ValueError, match=problem):
        add_another()


def test_spans_of_a_kind_the_manifest_does_not_name_are_refused(tmp_path: Path) -> None:
    types = {**TYPES, "spans": Column(dtype="int32", per="span", kinds=["identifier"])}
    with pytest.raises(CorruptionError, match=r"spans\.npy: a span is of a kind that has no name"):
        write(tmp_path, [documents(1)], types)


def change_manifest(folder: Path, change: Callable[[dict], Any]) -> None:
    """A manifest that someone changed with care: its own digest is right again."""
    path = folder / "manifest.json"
    content = canonical.decode_sealed(path.read_bytes())
    change(content)
    path.write_bytes(canonical.encode_sealed(content))


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda columns: columns["spans"].pop("kinds"), "names its kinds"),
        (lambda columns: columns["spans"].update(per="token"), "names its kinds"),
        (lambda columns: columns["words"].update(kinds=["a"]), "names its kinds"),
        (
            lambda columns: columns.update(spans_docs={"dtype": "int64", "per": "document"}),
            "called as another's offsets",
        ),
        (lambda columns: columns["words"].update(per="document"), "words.npy: uint8 of"),
        (lambda columns: columns.pop("words"), "does not have the columns the manifest lists"),
    ],
)
def test_a_manifest_with_other_columns_than_the_shards_is_refused(dataset: Path, change: Any, problem: str) -> None:
    change_manifest(dataset, lambda content: change(content["columns"]))
    with pytest.raises(CorruptionError, match=problem):
        read(dataset)
    assert audit_dataset(dataset).problems


def test_a_column_is_written_as_short_as_it_was_before_there_were_spans() -> None:
    assert Column(dtype="uint8", per="token").model_dump() == {"dtype": "uint8", "per": "token"}
    assert TYPES["spans"].model_dump()["kinds"] == ["identifier", "comment"]
    with pytest.raises(ValidationError, match="names its kinds"):
        Column(dtype="int64", per="span", kinds=["a"])


def test_a_missing_column_is_an_error_that_names_the_command(dataset: Path) -> None:
    opened = Dataset.open(dataset)
    opened.require_columns(["words", "spans"])
    with pytest.raises(InputError) as error:
        opened.require_columns(["words", "weight"], "my.yaml")
    assert str(error.value) == (
        f"{dataset}: the dataset has no column 'weight'; make it with: spanwright prep my.yaml data.columns.weight=idf"
    )
