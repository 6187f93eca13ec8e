"""Tokenize a unit: its splits with the columns asked for, as shards or for finishes, and what token observers saw."""

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
from data_prep.shards import token_dtype
from data_prep.sources.document import Document
from data_prep.tally import group_hash
from data_prep.tasks.passes import DocumentsFile
from data_prep.tasks.splits import SPLITS, chunk_writer, shard_writer
from data_prep.tokenizer.tokenizer import Tokenizer
from data_prep.work import WorkFolder


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
    """Write the unit's shards (the record holds their manifest entries) or, where there are finishes, chunks."""
    tokenizer = _tokenizer(work.folder(task.tokenizer_folder), task.tokenizer)
    observers: dict[str, TokenObserver] = {
        stage.kind: finish_module(stage.kind).observer(stage.config, tokenizer.vocab_size) for stage in task.finishes
    }
    counts = LanguageTokens(tokenizer)
    new_writer = chunk_writer if task.finishes else shard_writer
    folder, dtype = work.new_folder(task.id), token_dtype(tokenizer.vocab_size)
    with new_writer(folder, dtype, task.shards) as writer:
        documents = task.documents.documents(work)
        for document, token_ids, columns in annotated(_encoded(documents, tokenizer), tokenizer, task.columns):
            heldout = group_hash(document) <= task.heldout_limit
            if heldout:  # few, so they wait long for their chunk: as views they would keep what was encoded with them
                token_ids, columns = token_ids.copy(), {name: column.copy() for name, column in columns.items()}
            writer.add(SPLITS[heldout], TokenizedDocument(document.id, token_ids, columns))
            counts.add(document, token_ids)
            if not heldout:
                for observer in observers.values():
                    observer.add(document, token_ids)
        record = writer.close()
    observed, observations = {}, dict[str, dict[str, str]]()
    for kind, observer in observers.items():
        observed[kind], observations[kind] = work.adopt(task.id, f"observed-{kind}", observer.save)
        record["files"] |= observations[kind]
    return {**record, "languages": counts.record(), "observed": observed, "observations": observations}


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

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._unknown = tokenizer.special.unk if tokenizer.may_yield_unknown else None
        self._rows: dict[str, list[int]] = {}

    def add(self, document: Document, token_ids: np.ndarray) -> None:
        """Count a document."""
        row = self._rows.setdefault(document.lang or "", [0, 0, 0, 0, 0])
        row[0] += 1
        row[1] += document.num_chars
        row[2] += document.num_bytes
        row[3] += len(token_ids)
        if self._unknown is not None:
            row[4] += int(np.count_nonzero(token_ids == self._unknown))

    def record(self) -> dict[str, list[int]]:
        """Plain JSON."""
        return dict(sorted(self._rows.items()))
