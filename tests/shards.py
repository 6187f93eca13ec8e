"""Datasets that tests write themselves: documents with columns, as shards of one split; and what damages them."""

import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from data_prep.shards import (
    ChunkBuilder,
    Column,
    Manifest,
    ShardWriter,
    build_manifest,
    describe_tokenizer,
    token_dtype,
    write_manifest,
)

Documents = Iterable[tuple[str, np.ndarray, Mapping[str, np.ndarray]]]  # id, token ids, columns


def write_columned(
    folder: Path, shards: Iterable[Documents], types: dict[str, Column], chunk_tokens: int, vocab_size: int = 1000
) -> Manifest:
    """The dataset in `folder`, its split `train` a shard for each of `shards`; nobody can decode its tokens."""
    (folder / "tokenizer").mkdir(parents=True)
    (folder / "tokenizer" / "spiece.model").write_bytes(b"model")
    entries = []
    for number, documents in enumerate(shards):
        builder = ChunkBuilder(token_dtype(vocab_size), chunk_tokens)
        with ShardWriter(folder, f"shard-{number:05d}", (64,)) as writer:
            for document_id, tokens, columns in documents:
                if chunk := builder.add(document_id, tokens, columns):
                    writer.add(chunk)
            if chunk := builder.finish():
                writer.add(chunk)
        entries.append(writer.entry)
    tokenizer = describe_tokenizer(folder, "tokenizer", "ab" * 32, vocab_size)
    manifest = build_manifest("tests", tokenizer, {"train": entries}, {}, {}, types)
    write_manifest(folder, manifest)
    return manifest


def with_damaged_token(folder: Path, copy: Path, shard: int) -> Path:
    """A copy of the dataset in `folder`, where a bit of the first token of the first chunk of a shard is another."""
    shutil.copytree(folder, copy)
    path = copy / f"shard-{shard:05d}.tar"
    data = bytearray(path.read_bytes())
    data[512 + 128] ^= 1
    path.write_bytes(data)
    return copy
