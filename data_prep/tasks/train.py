"""The tokenizer's training text, out of every unit, and the training."""

import functools
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import sentencepiece

from data_prep.config import TokenizerConfig
from data_prep.plan import HASH_RANGE, VERSIONS, task_id
from data_prep.shards import canonical
from data_prep.shards.files import StagedFile, named_errors, place, staged_bytes
from data_prep.sources.document import Document
from data_prep.tally import group_hash
from data_prep.tasks.passes import DocumentsFile
from data_prep.tokenizer.segments import segments
from data_prep.tokenizer.tokenizer import MODEL_NAME
from data_prep.tokenizer.train import train_model
from data_prep.work import WorkFolder

SAMPLE_NAME = "sample.jsonl"


@dataclass(frozen=True)
class SampleTask:
    """Take the share `rate` of a unit's text; nothing of documents that are held out."""

    documents: DocumentsFile
    rate: float
    heldout_limit: int
    kind: ClassVar[str] = "sample"

    @functools.cached_property
    def id(self) -> str:
        """Name of the task's record and folder."""
        return task_id(self.kind, [VERSIONS["sample"], self.documents.digest, self.rate, self.heldout_limit])

    @property
    def label(self) -> str:
        """What to call it in a message."""
        return f"sample {self.documents.label}"

    @property
    def size(self) -> int:
        """Bytes of input."""
        return self.documents.size


@dataclass(frozen=True)
class TrainTask:
    """Train the tokenizer on the text that `samples` (ids of sample tasks, in order) took."""

    config: TokenizerConfig
    samples: tuple[str, ...]
    kind: ClassVar[str] = "train"
    size: ClassVar[int] = 0
    label: ClassVar[str] = "train the tokenizer"

    @functools.cached_property
    def id(self) -> str:
        """Name of the task's record and folder."""
        options = self.config.model_dump(mode="json", exclude={"path"})
        return task_id("train", [VERSIONS["train"], sentencepiece.__version__, options, self.samples])


def sample(task: SampleTask, work: WorkFolder) -> dict[str, Any]:
    """Write the unit's share of the tokenizer's training text: every encoding segment with probability `rate`.

    Whether segment n of a document is taken follows from the hash of (document, n): no order of tasks changes it, and
    neither a few huge documents nor many small ones crowd out the rest.
    """
    text_bytes, digest = 0, hashlib.sha256()
    file = StagedFile(work.new_folder(task.id) / SAMPLE_NAME)
    try:
        for document in task.documents.documents(work):
            if group_hash(document) <= task.heldout_limit:
                continue
            for segment in _taken_segments(document, task.rate):
                line = json.dumps(segment).encode() + b"\n"
                file.write(line)
                digest.update(line)
                text_bytes += len(segment.encode())
        place([file])
    except BaseException:
        file.discard()
        raise
    return {"text_bytes": text_bytes, "files": {SAMPLE_NAME: digest.hexdigest()}}


def train(task: TrainTask, work: WorkFolder) -> dict[str, Any]:
    """Train the tokenizer on all samples, in the order of the plan, into the task's folder."""
    trained = train_model((text for sample_id in task.samples for text in _sampled_texts(work, sample_id)), task.config)
    place([staged_bytes(work.new_folder(task.id) / MODEL_NAME, trained.model)])
    return {"vocab_size": trained.vocab_size, "files": {MODEL_NAME: canonical.digest(trained.model)}}


def _taken_segments(document: Document, rate: float) -> Iterator[str]:
    for number, segment in enumerate(segments(document.text)):
        if rate >= 1 or _segment_hash(document.sha256, number) < rate * HASH_RANGE:
            yield segment


def _segment_hash(digest: bytes, number: int) -> int:
    return int.from_bytes(hashlib.sha256(digest + number.to_bytes(8, "big")).digest()[:8], "big")


def _sampled_texts(work: WorkFolder, sample_id: str) -> Iterator[str]:
    path = work.folder(sample_id) / SAMPLE_NAME
    with named_errors(path, "read"), open(path, "rb") as file:
        for line in file:
            yield json.loads(line)
