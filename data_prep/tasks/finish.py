"""Write a unit's final shards: the tokenized ones, with what the finishes make of them."""

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from data_prep.config import ShardsConfig
from data_prep.finish import finish_module
from data_prep.finish.finish import ChunkFinish
from data_prep.plan import VERSIONS, Stage, task_id
from data_prep.shards import Column, MappedChunk, ShardEntry, Split, build_manifest, describe_tokenizer, token_dtype
from data_prep.tasks.passes import Decided
from data_prep.tasks.tokenize import UnitShards
from data_prep.work import WorkFolder


@dataclass(frozen=True)
class FinishTask:
    """Carry the finishes, each with its decision, out over the shards of a tokenize task."""

    tokenized: str  # id of the tokenize task
    entries: dict[str, ShardEntry]
    unit: int
    finishes: tuple[tuple[Stage, Decided], ...]
    tokenizer_folder: str
    tokenizer: str
    vocab_size: int
    shards: ShardsConfig
    columns: dict[str, Column]  # of the tokenized shards
    size: int  # bytes of their tars
    kind: str = "finish"

    @functools.cached_property
    def id(self) -> str:
        """Name of the task's record and folder."""
        staged = [[split, entry.sha256] for split, entry in self.entries.items()]
        finishes = [[stage.identity, decided.digest] for stage, decided in self.finishes]
        settings = [self.tokenizer, self.unit, self.shards.model_dump(mode="json")]
        return task_id(self.kind, [VERSIONS["finish"], staged, finishes, settings])

    @property
    def label(self) -> str:
        """What to call it in a message."""
        return f"finish unit {self.unit + 1}"


def run(task: FinishTask, work: WorkFolder) -> dict[str, Any]:
    """Write the shards; the record holds their manifest entries."""
    dtype = token_dtype(task.vocab_size)
    with UnitShards(work.new_folder(task.id), dtype, task.shards, task.shards.window_sizes) as shards:
        for split in task.entries:
            chunks = _staged_chunks(task, work, split)
            finishes = _chunk_finishes(task, work)
            if finishes is not None:  # chunks end where they did: they have the same documents
                for chunk in chunks:
                    shards.add_chunk(
                        split, functools.reduce(lambda done, finish: finish(done), finishes, chunk.whole())
                    )
                continue
            documents = (document for chunk in chunks for document in chunk.documents())
            for stage, decided in task.finishes:
                finish = finish_module(stage.kind).finish
                documents = finish(stage.config, decided.decision(work, task.unit), split)(documents)
            for document in documents:
                shards.add(split, document)
        entries, files = shards.close()
    return {"shards": {split: entry.model_dump() for split, entry in entries.items()}, "files": files}


def _staged_chunks(task: FinishTask, work: WorkFolder, split: str) -> Iterator[MappedChunk]:
    described = describe_tokenizer(work.root, task.tokenizer_folder, task.tokenizer, task.vocab_size)
    entries = {name: [entry] for name, entry in task.entries.items()}
    manifest = build_manifest("staged", described, entries, {}, {}, task.columns)
    shards = Split(work.folder(task.tokenized), manifest, split, max_open_shards=1)
    return map(shards.chunk, range(shards.num_chunks))


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
