"""What a task writes of a unit: for each split that has documents a shard, or a file of chunks for the finishes."""

from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

from data_prep.blocks import SUFFIX
from data_prep.chunk_file import ChunkWriter, StoredChunks
from data_prep.config import ShardsConfig
from data_prep.shards import Chunk, ChunkBuilder, ShardEntry, ShardWriter, TokenizedDocument
from data_prep.shards.manifest import TokenDtype
from data_prep.shards.names import INDEX_SUFFIX, TAR_SUFFIX

SPLITS = ("train", "heldout")

Record = dict[str, Any]


class ChunkSink(Protocol):
    """A file that takes chunks."""

    def add(self, chunk: Chunk) -> None:
        """Append a chunk."""

    def close(self) -> Any:
        """Give the file its name."""

    def abort(self) -> None:
        """Remove what has no name yet."""


class SplitWriter:
    """Writes splits, each to a sink of its own, made when there is something for it. Leaves nothing after an error.

    `described` makes a record of what the sinks hold, by split.
    """

    def __init__(
        self,
        dtype: TokenDtype,
        max_tokens: int | None,
        new_sink: Callable[[str], ChunkSink],
        described: Callable[[Mapping[str, Any]], Record],
    ) -> None:
        self._new_sink, self._described = new_sink, described
        self._builders = {split: ChunkBuilder(dtype, max_tokens) for split in SPLITS}
        self._sinks: dict[str, ChunkSink] = {}

    def __enter__(self) -> "SplitWriter":
        return self

    def __exit__(self, *_: object) -> None:
        for sink in self._sinks.values():
            sink.abort()

    def add(self, split: str, document: TokenizedDocument) -> None:
        """Append a document to a split."""
        if chunk := self._builders[split].add(document.id, document.token_ids, document.columns):
            self.add_chunk(split, chunk)

    def add_chunk(self, split: str, chunk: Chunk) -> None:
        """Append a chunk to a split."""
        if split not in self._sinks:
            self._sinks[split] = self._new_sink(split)
        self._sinks[split].add(chunk)

    def close(self) -> Record:
        """Publish what was written; what a task's record says of it."""
        for split, builder in self._builders.items():
            if chunk := builder.finish():
                self.add_chunk(split, chunk)
        return self._described({split: self._sinks[split].close() for split in SPLITS if split in self._sinks})


def shard_writer(folder: Path, dtype: TokenDtype, config: ShardsConfig) -> SplitWriter:
    """Writes final shards into `folder`."""

    def new_sink(split: str) -> ShardWriter:
        return ShardWriter(folder, split, config.window_sizes, flushed=False)

    return SplitWriter(dtype, config.chunk_tokens, new_sink, _shards_record)


def chunk_writer(folder: Path, dtype: TokenDtype, config: ShardsConfig) -> SplitWriter:
    """Writes files of chunks into `folder`."""

    def new_sink(split: str) -> ChunkWriter:
        return ChunkWriter(chunks_path(folder, split))

    return SplitWriter(dtype, config.chunk_tokens, new_sink, _chunks_record)


def chunks_path(folder: Path, split: str) -> Path:
    """Where the file of a split's chunks lies."""
    return folder / f"{split}{SUFFIX}"


def _shards_record(entries: Mapping[str, ShardEntry]) -> Record:
    files = {f"{entry.name}{TAR_SUFFIX}": entry.sha256 for entry in entries.values()}
    files |= {f"{entry.name}{INDEX_SUFFIX}": entry.index for entry in entries.values()}
    return {"shards": {split: entry.model_dump() for split, entry in entries.items()}, "files": files}


def _chunks_record(stored: Mapping[str, StoredChunks]) -> Record:
    files = {chunks_path(Path(), split).name: chunks.file_digest for split, chunks in stored.items()}
    return {"chunks": {split: asdict(chunks) for split, chunks in stored.items()}, "files": files}
