"""Write a unit's final shards: the tokenized documents, with what the finishes make of them."""

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from data_prep.chunk_file import read_chunks
from data_prep.config import ShardsConfig
from data_prep.finish import finish_module
from data_prep.finish.finish import ChunkFinish, TokenizedDocument
from data_prep.plan import VERSIONS, Stage, task_id
from data_prep.shards import Column, token_dtype
from data_prep.tasks.passes import Decided
from data_prep.tasks.splits import chunks_path, shard_writer
from data_prep.work import WorkFolder


@dataclass(frozen=True)
class FinishTask:
    """Carry the finishes, each with its decision, out over the chunks that a tokenize task left."""

    tokenized: str  # id of the tokenize task
    splits: tuple[str, ...]  # those that it left chunks of
    unit: int
    finishes: tuple[tuple[Stage, Decided], ...]
    vocab_size: int
    shards: ShardsConfig
    columns: dict[str, Column]  # of the chunks
    size: int  # bytes of the chunks' files
    kind: str = "finish"

    @functools.cached_property
    def id(self) -> str:
        """Name of the task's record and folder."""
        finishes = [[stage.identity, decided.digest] for stage, decided in self.finishes]
        settings = [self.unit, self.shards.model_dump(mode="json")]
        return task_id(self.kind, [VERSIONS["finish"], self.tokenized, finishes, settings])

    @property
    def label(self) -> str:
        """What to call it in a message."""
        return f"finish unit {self.unit + 1}"


def run(task: FinishTask, work: WorkFolder) -> dict[str, Any]:
    """Write the shards; the record holds their manifest entries."""
    with shard_writer(work.new_folder(task.id), token_dtype(task.vocab_size), task.shards) as shards:
        finishes = _chunk_finishes(task, work)
        for split in task.splits:
            chunks = read_chunks(chunks_path(work.folder(task.tokenized), split))
            if finishes is not None:  # chunks end where they did: they have the same documents
                for chunk in chunks:
                    shards.add_chunk(split, functools.reduce(lambda done, finish: finish(done), finishes, chunk))
                continue
            documents = (document for chunk in chunks for document in chunk.documents(task.columns))
            for document in _finished(documents, task, work, split):
                shards.add(split, document)
        return shards.close()


def _finished(
    documents: Iterator[TokenizedDocument], task: FinishTask, work: WorkFolder, split: str
) -> Iterator[TokenizedDocument]:
    for stage, decided in task.finishes:
        finish = finish_module(stage.kind).finish
        documents = finish(stage.config, decided.decision(work, task.unit), split)(documents)
    return documents


def _chunk_finishes(task: FinishTask, work: WorkFolder) -> list[ChunkFinish] | None:
    """The finishes, where all of them take whole chunks."""
    made: list[ChunkFinish] = []
    for stage, decided in task.finishes:
        make = getattr(finish_module(stage.kind), "chunk_finish", None)
        finish = make(stage.config, decided.decision(work, task.unit)) if make else None
        if finish is None:
            return None
        made.append(finish)
    return made
