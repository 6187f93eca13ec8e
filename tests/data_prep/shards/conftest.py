from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data_prep.shards import (
    Chunk,
    ChunkBuilder,
    Column,
    Dataset,
    Manifest,
    build_manifest,
    describe_tokenizer,
    write_manifest,
    write_shard,
)

VOCAB_SIZE = 3000
COLUMNS = {
    "words": Column(dtype="uint8", per="token"),
    "lang": Column(dtype="uint16", per="document"),
    "spans": Column(dtype="int32", per="span", kinds=["identifier", "comment"]),
}


def documents(seed: int, count: int, mean_tokens: int = 40) -> Iterator[tuple[str, np.ndarray]]:
    """Documents of natural lengths, every tenth one empty."""
    rng = np.random.default_rng(seed)
    for number in range(count):
        length = 0 if number % 10 == 9 else int(rng.geometric(1 / mean_tokens))
        yield f"{seed}/dokument-{number}-ß", rng.integers(0, VOCAB_SIZE, length)


def columns_of(length: int) -> dict[str, np.ndarray]:
    """Every third token begins a word; every fifth is a span; the language follows from the length."""
    starts = np.arange(0, length, 5)
    return {
        "words": (np.arange(length) % 3 == 0).astype(np.uint8),
        "lang": np.array([length % 200], np.uint16),
        "spans": np.stack([starts, starts + 1, starts % 2], axis=1).astype(np.int32),
    }


def chunks(seed: int) -> Iterator[Chunk]:
    """The documents of a seed with their columns."""
    builder = ChunkBuilder("uint16", 800)
    for name, tokens in documents(seed, 60):
        if chunk := builder.add(name, tokens, columns_of(len(tokens))):
            yield chunk
    if chunk := builder.finish():
        yield chunk


def write_dataset(folder: Path) -> Manifest:
    """Three train shards and one held-out shard of several chunks each, with columns of every kind."""
    (folder / "tokenizer").mkdir(parents=True)
    (folder / "tokenizer" / "tokenizer.model").write_bytes(bytes(range(256)))
    tokenizer = describe_tokenizer(folder, "tokenizer", digest="ab" * 32, vocab_size=VOCAB_SIZE)
    entries = [write_shard(folder, f"shard-{seed:05d}", chunks(seed), (64, 128)) for seed in range(4)]
    splits = {"train": entries[:3], "heldout": entries[3:]}
    manifest = build_manifest("tests", tokenizer, splits, {"name": "tests"}, {"skipped": {"empty": 3}}, COLUMNS)
    write_manifest(folder, manifest)
    return manifest


def read_everything(folder: Path) -> list[tuple[list[str], dict[str, list]]]:
    """Touch every byte through the public reader; returns ids and all arrays of every chunk."""
    dataset = Dataset.open(folder)
    assert list(dataset.tokenizer_folder.iterdir())
    splits = [dataset.split(name) for name in dataset.manifest.splits]
    found = [split.chunk(number) for split in splits for number in range(split.num_chunks)]
    return [(chunk.ids, {name: array.tolist() for name, array in arrays(chunk).items()}) for chunk in found]


def arrays(chunk: Any) -> dict[str, np.ndarray]:
    """Tokens, offsets, columns, and the offsets of spans."""
    own = {"tokens": chunk.tokens, "docs": chunk.docs, "spans_docs": chunk.span_offsets("spans")}
    return own | {name: chunk.column(name) for name in COLUMNS}


@pytest.fixture
def make_documents() -> Callable[..., Iterator[tuple[str, np.ndarray]]]:
    return documents


@pytest.fixture
def make_dataset() -> Callable[[Path], Manifest]:
    return write_dataset


@pytest.fixture
def touch_all() -> Callable[[Path], list]:
    return read_everything


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    write_dataset(tmp_path / "dataset")
    return tmp_path / "dataset"
