"""What runs in worker processes: one function per kind of task, each a pure function of files to files.

Invariant: a task may run twice, at the same time, or be killed anywhere. It writes under temporary names, flushes and
renames; its record comes last; whoever finishes writes the same bytes.

1. `scan`: count a unit's documents and what is wrong with it, and find its lowest and highest document hash.
2. `sample`: take the tokenizer's training text out of a unit.
3. `train`: make the tokenizer.
4. `tokenize`: write a unit's train and held-out shards.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from data_prep.errors import InputError
from data_prep.plan import HASH_RANGE, TrainTask, UnitTask
from data_prep.shards import ChunkBuilder, ShardEntry, ShardWriter, canonical, token_dtype
from data_prep.shards.files import StagedFile, named_errors, publish, staged_bytes
from data_prep.shards.manifest import TokenDtype
from data_prep.sources import BadDocument, Document, read
from data_prep.tokenizer.segments import segments
from data_prep.tokenizer.tokenizer import MODEL_NAME, Tokenizer
from data_prep.tokenizer.train import train_model
from data_prep.work import WorkFolder

SPLITS = ("train", "heldout")
SAMPLE_NAME = "sample.jsonl"


@dataclass
class Skipped:
    """Bad documents by reason, with the first of each."""

    counts: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)

    def add(self, bad: BadDocument) -> None:
        """Count `bad`."""
        self.counts[bad.reason] += 1
        if bad.reason not in self.examples:
            self.examples[bad.reason] = bad.describe()


def document_digest(document: Document) -> bytes:
    """SHA-256 of a document's text."""
    return hashlib.sha256(document.text.encode()).digest()


def document_hash(document: Document) -> int:
    """The first 8 bytes of the digest as a number: decides whether the document is held out."""
    return int.from_bytes(document_digest(document)[:8], "big")


def documents(task: UnitTask, skipped: Skipped) -> Iterator[Document]:
    """The good documents of a task's unit, at most `task.limit`; bad ones are counted, or an InputError."""
    left = task.limit
    for split in task.unit.splits:
        if left == 0:
            return
        for document in read(split, task.config):
            if isinstance(document, BadDocument):
                if task.config.bad_documents == "error":
                    raise InputError(f"{document.describe()} (to skip such documents: data.bad_documents=skip)")
                skipped.add(document)
                continue
            yield document
            left = None if left is None else left - 1
            if left == 0:
                return


def scan(task: UnitTask, work: WorkFolder) -> dict[str, Any]:
    """Counts, skipped documents by reason with examples, lowest and highest document hash (None without documents)."""
    skipped, num_documents, text_bytes = Skipped(), 0, 0
    lowest, highest = HASH_RANGE, -1
    for document in documents(task, skipped):
        value = document_hash(document)
        lowest, highest = min(lowest, value), max(highest, value)
        num_documents += 1
        text_bytes += len(document.text.encode())
    return {
        "documents": num_documents,
        "text_bytes": text_bytes,
        "hashes": [lowest, highest] if num_documents else None,
        "skipped": dict(skipped.counts),
        "examples": skipped.examples,
    }


def sample(task: UnitTask, work: WorkFolder) -> dict[str, Any]:
    """Write the unit's share of the tokenizer's training text: every encoding segment with probability `rate`.

    Whether segment n of a document is taken follows from the hash of (document, n): no order of tasks changes it, and
    neither a few huge documents nor many small ones crowd out the rest.
    """
    rate, text_bytes = task.setting("rate"), 0
    folder = _task_folder(work, task.id)
    file = StagedFile(folder / SAMPLE_NAME)
    try:
        for document in documents(task, Skipped()):
            digest = document_digest(document)
            for number, segment in enumerate(segments(document.text)):
                if rate >= 1 or _segment_hash(digest, number) < rate * HASH_RANGE:
                    file.write(json.dumps(segment).encode() + b"\n")
                    text_bytes += len(segment.encode())
        publish([file])
    except BaseException:
        file.discard()
        raise
    return {"text_bytes": text_bytes}


def train(task: TrainTask, work: WorkFolder) -> dict[str, Any]:
    """Train the tokenizer on all samples, in the order of the plan, into the task's folder."""
    trained = train_model((text for sample_id in task.samples for text in _sampled_texts(work, sample_id)), task.config)
    folder = _task_folder(work, task.id)
    publish([staged_bytes(folder / MODEL_NAME, trained.model)])
    return {"vocab_size": trained.vocab_size, "digest": canonical.digest(trained.model)}


def tokenize(task: UnitTask, work: WorkFolder) -> dict[str, Any]:
    """Write the unit's shards, one for each split that has documents, and return their manifest entries."""
    tokenizer = Tokenizer.load(work.folder(task.tokenizer_folder))
    if tokenizer.digest != task.setting("tokenizer"):
        raise InputError(f"{tokenizer.folder}: the tokenizer changed while it was in use; run the same command again")
    folder = _task_folder(work, task.id)
    dtype = token_dtype(tokenizer.vocab_size)
    outputs = {split: _SplitShard(folder, split, dtype, task) for split in SPLITS}
    try:
        for document in documents(task, Skipped()):
            heldout = document_hash(document) <= task.setting("heldout_limit")
            outputs[SPLITS[heldout]].add(document.id, tokenizer.encode(document.text))
        entries = {split: output.close() for split, output in outputs.items()}
    except BaseException:
        for output in outputs.values():
            output.abort()
        raise
    return {"shards": {split: entry.model_dump() for split, entry in entries.items() if entry}}


class _SplitShard:
    """The shard of one split, made only when there is a document for it."""

    def __init__(self, folder: Path, split: str, dtype: TokenDtype, task: UnitTask) -> None:
        self._folder, self._split, self._shards = folder, split, task.config.shards
        self._builder = ChunkBuilder(dtype, self._shards.chunk_tokens)
        self._writer: ShardWriter | None = None

    def add(self, document_id: str, token_ids: np.ndarray) -> None:
        if self._writer is None:
            self._writer = ShardWriter(self._folder, self._split, self._shards.window_sizes)
        if chunk := self._builder.add(document_id, token_ids):
            self._writer.add(chunk)

    def close(self) -> ShardEntry | None:
        if self._writer is None:
            return None
        if chunk := self._builder.finish():
            self._writer.add(chunk)
        return self._writer.close()

    def abort(self) -> None:
        if self._writer is not None:
            self._writer.abort()


FUNCTIONS: dict[str, Callable[[Any, WorkFolder], dict[str, Any]]] = {
    "scan": scan,
    "sample": sample,
    "train": train,
    "tokenize": tokenize,
}


def _task_folder(work: WorkFolder, task_id: str) -> Path:
    folder = work.folder(task_id)
    with named_errors(folder, "write"):
        folder.mkdir(exist_ok=True)
    return folder


def _segment_hash(digest: bytes, number: int) -> int:
    return int.from_bytes(hashlib.sha256(digest + number.to_bytes(8, "big")).digest()[:8], "big")


def _sampled_texts(work: WorkFolder, sample_id: str) -> Iterator[str]:
    path = work.folder(sample_id) / SAMPLE_NAME
    with named_errors(path, "read"), open(path, "rb") as file:
        for line in file:
            yield json.loads(line)
