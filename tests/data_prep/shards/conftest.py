from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from data_prep.shards import (
    Dataset,
    Manifest,
    build_chunks,
    build_manifest,
    describe_tokenizer,
    write_manifest,
    write_shard,
)

VOCAB_SIZE = 3000


def documents(seed: int, count: int, mean_tokens: int = 40) -> Iterator[tuple[str, np.ndarray]]:
    """Documents of natural lengths, every tenth one empty."""
    rng = np.random.default_rng(seed)
    for number in range(count):
        length = 0 if number % 10 == 9 else int(rng.geometric(1 / mean_tokens))
        yield f"{seed}/dokument-{number}-ß", rng.integers(0, VOCAB_SIZE, length)


def write_dataset(folder: Path) -> Manifest:
    """Three train shards and one held-out shard of several chunks each."""
    (folder / "tokenizer").mkdir(parents=True)
    (folder / "tokenizer" / "tokenizer.model").write_bytes(bytes(range(256)))
    tokenizer = describe_tokenizer(folder, "tokenizer", digest="ab" * 32, vocab_size=VOCAB_SIZE)
    entries = [
        write_shard(folder, f"shard-{seed:05d}", build_chunks(documents(seed, 60), "uint16", 800), (64, 128))
        for seed in range(4)
    ]
    splits = {"train": entries[:3], "heldout": entries[3:]}
    manifest = build_manifest("tests", tokenizer, splits, config={"name": "tests"}, report={"skipped": {"empty": 3}})
    write_manifest(folder, manifest)
    return manifest


def read_everything(folder: Path) -> list[tuple[list[int], list[int], list[str]]]:
    """Touch every byte through the public reader; returns tokens, offsets and ids of every chunk."""
    dataset = Dataset.open(folder)
    assert list(dataset.tokenizer_folder.iterdir())
    chunks = [
        dataset.split(name).chunk(i) for name in dataset.manifest.splits for i in range(dataset.split(name).num_chunks)
    ]
    return [(chunk.tokens.tolist(), chunk.docs.tolist(), chunk.ids) for chunk in chunks]


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
