"""Datasets that benchmarks write themselves: documents of token ids as shards of one split, without a preparation."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from data_prep.shards import (
    Dataset,
    build_chunks,
    build_manifest,
    describe_tokenizer,
    token_dtype,
    write_manifest,
    write_shard,
)
from data_prep.tokenizer import Tokenizer

Documents = Sequence[tuple[str, np.ndarray]]  # (id, token ids)


def write_dataset(
    folder: Path, tokenizer_files: Mapping[str, bytes], shards: Iterable[Documents], window: int
) -> Dataset:
    """The dataset in `folder` (which is not there yet), its split `train` a shard for each of `shards`."""
    (folder / "tokenizer").mkdir(parents=True)
    for name, content in tokenizer_files.items():
        (folder / "tokenizer" / name).write_bytes(content)
    tokenizer = Tokenizer.load(folder / "tokenizer")
    dtype = token_dtype(tokenizer.vocab_size)
    entries = [
        write_shard(folder, f"shard-{number:05d}", build_chunks(documents, dtype), [window])
        for number, documents in enumerate(shards)
    ]
    described = describe_tokenizer(folder, "tokenizer", tokenizer.digest, tokenizer.vocab_size)
    write_manifest(folder, build_manifest("benchmark", described, {"train": entries}, {}, {}))
    return Dataset.open(folder)
