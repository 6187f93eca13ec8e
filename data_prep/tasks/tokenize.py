"""Tokenize a unit: its train and held-out shards, with the columns asked for, and what token observers saw."""

import functools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import sentencepiece

from data_prep.columns.annotate import annotated, batches, column_versions
from data_prep.columns.config import ColumnsConfig
from data_prep.config import ShardsConfig
from data_prep.errors import InputError
from data_prep.finish import finish_module
from data_prep.finish.finish import TokenizedDocument, TokenObserver
from data_prep.plan import VERSIONS, Stage, task_id
from data_prep.shards import Chunk, ChunkBuilder, ShardEntry, ShardWriter, token_dtype
from data_prep.shards.manifest import TokenDtype
from data_prep.shards.names import index_path, tar_path
from data_prep.sources.document import Document
from data_prep.tally import group_hash
from data_prep.tasks.passes import DocumentsFile
from data_prep.tokenizer.tokenizer import Tokenizer
from data_prep.work import WorkFolder

SPLITS = ("train", "heldout")
_MOST_WAITING = 64  # documents


@dataclass(frozen=True)
class TokenizeTask:
    """Tokenize a unit's documents. `finishes` see the training documents; without any, the shards are final."""

    documents: DocumentsFile
    tokenizer_folder: str  # where the tokenizer lies in the work folder
    tokenizer: str  # its digest
    heldout_limit: int
    shards: ShardsConfig
    columns: ColumnsConfig
    finishes: tuple[Stage, ...]
    kind: str = "tokenize"

    @functools.cached_property
    def id(self) -> str:
        """Name of the task's record and folder."""
        versions = [VERSIONS["tokenize"], sentencepiece.__version__, column_versions(self.columns)]
        settings = [self.tokenizer, self.heldout_limit, self.shards.model_dump(mode="json")]
        columns = self.columns.model_dump(mode="json", exclude={"weight"})
        finishes = [stage.observing for stage in self.finishes]
        return task_id(self.kind, [versions, self.documents.digest, settings, columns, finishes])

    @property
    def label(self) -> str:
        """What to call it in a message."""
        return f"tokenize {self.documents.label}"

    @property
    def size(self) -> int:
        """Bytes of input."""
        return self.documents.size


def run(task: TokenizeTask, work: WorkFolder) -> dict[str, Any]:
    """Write the unit's shards, one for each split that has documents; the record holds their manifest entries."""
    tokenizer = _tokenizer(work.folder(task.tokenizer_folder), task.tokenizer)
    observers: dict[str, TokenObserver] = {
        stage.kind: finish_module(stage.kind).observer(stage.config, tokenizer.vocab_size) for stage in task.finishes
    }
    window_sizes = () if task.finishes else task.shards.window_sizes
    counts = LanguageTokens(tokenizer.special.unk)
    with UnitShards(work.new_folder(task.id), token_dtype(tokenizer.vocab_size), task.shards, window_sizes) as shards:
        documents = task.documents.documents(work)
        for document, token_ids, columns in annotated(_encoded(documents, tokenizer), tokenizer, task.columns):
            heldout = group_hash(document) <= task.heldout_limit
            if heldout:  # few, so they wait long for their chunk: as views they would keep what was encoded with them
                token_ids, columns = token_ids.copy(), {name: column.copy() for name, column in columns.items()}
            shards.add(SPLITS[heldout], TokenizedDocument(document.id, token_ids, columns))
            counts.add(document, token_ids)
            if not heldout:
                for observer in observers.values():
                    observer.add(document, token_ids)
        entries, files = shards.close()
    observed, observations = {}, dict[str, dict[str, str]]()
    for kind, observer in observers.items():
        observed[kind], observations[kind] = work.adopt(task.id, f"observed-{kind}", observer.save)
        files |= observations[kind]
    return {
        "shards": {split: entry.model_dump() for split, entry in entries.items()},
        "languages": counts.record(),
        "observed": observed,
        "observations": observations,
        "files": files,
    }


def _encoded(documents: Iterable[Document], tokenizer: Tokenizer) -> Iterator[tuple[Document, np.ndarray]]:
    """The documents with their token ids, encoded many at a time."""
    for batch in batches(documents):
        yield from zip(batch, tokenizer.encode_texts([document.utf8 for document in batch]), strict=True)


@functools.lru_cache(maxsize=1)  # a worker has many tasks of one preparation, and loading takes a quarter of a second
def _tokenizer(folder: Path, digest: str) -> Tokenizer:
    tokenizer = Tokenizer.load(folder)
    if tokenizer.digest != digest:
        raise InputError(f"{folder}: the tokenizer changed while it was in use; run the same command again")
    return tokenizer


class LanguageTokens:
    """Documents, characters, bytes, tokens and unknown tokens by language."""

    def __init__(self, unknown: int) -> None:
        self._unknown = unknown
        self._rows: dict[str, list[int]] = {}
        self._waiting: list[tuple[list[int], np.ndarray]] = []  # to look for unknown tokens in many documents at once

    def add(self, document: Document, token_ids: np.ndarray) -> None:
        """Count a document."""
        row = self._rows.setdefault(document.lang or "", [0, 0, 0, 0, 0])
        row[0] += 1
        row[1] += document.num_chars
        row[2] += document.num_bytes
        row[3] += len(token_ids)
        self._waiting.append((row, token_ids))
        if len(self._waiting) == _MOST_WAITING:
            self._look()

    def record(self) -> dict[str, list[int]]:
        """Plain JSON."""
        self._look()
        return dict(sorted(self._rows.items()))

    def _look(self) -> None:
        waiting, self._waiting = self._waiting, []
        if waiting and (np.concatenate([ids for _, ids in waiting]) == self._unknown).any():
            for row, ids in waiting:
                row[4] += int(np.count_nonzero(ids == self._unknown))


class UnitShards:
    """A unit's shards, one for each split, made only when there is a document for it. Leaves nothing after an error."""

    def __init__(self, folder: Path, dtype: TokenDtype, config: ShardsConfig, window_sizes: tuple[int, ...]) -> None:
        self._folder, self._window_sizes = folder, window_sizes
        self._builders = {split: ChunkBuilder(dtype, config.chunk_tokens) for split in SPLITS}
        self._writers: dict[str, ShardWriter] = {}

    def __enter__(self) -> "UnitShards":
        return self

    def __exit__(self, *_: object) -> None:
        for writer in self._writers.values():
            writer.abort()  # does nothing to a shard that was published

    def add(self, split: str, document: TokenizedDocument) -> None:
        """Append a document to a split."""
        if chunk := self._builders[split].add(document.id, document.token_ids, document.columns):
            self.add_chunk(split, chunk)

    def add_chunk(self, split: str, chunk: Chunk) -> None:
        """Append a chunk to a split."""
        if split not in self._writers:
            self._writers[split] = ShardWriter(self._folder, split, self._window_sizes, flushed=False)
        self._writers[split].add(chunk)

    def close(self) -> tuple[dict[str, ShardEntry], dict[str, str]]:
        """Publish the shards: entries by split, and digests of their files."""
        for split, builder in self._builders.items():
            if chunk := builder.finish():
                self.add_chunk(split, chunk)
        entries = {split: self._writers[split].close() for split in SPLITS if split in self._writers}
        return entries, {name: digest for entry in entries.values() for name, digest in _files(entry).items()}


def _files(entry: ShardEntry) -> dict[str, str]:
    folder = Path()
    return {str(tar_path(folder, entry.name)): entry.sha256, str(index_path(folder, entry.name)): entry.index}
