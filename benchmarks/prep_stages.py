"""What each part of a preparation takes alone: CPU seconds of one process, everything else being in memory already."""

import collections
import functools
import itertools
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from data_prep.columns.annotate import annotated
from data_prep.columns.config import ColumnsConfig
from data_prep.config import DataConfig
from data_prep.documents import DocumentWriter, read_documents
from data_prep.finish import weight
from data_prep.finish.finish import TokenizedDocument
from data_prep.plan import plan_units
from data_prep.shards import token_dtype
from data_prep.sources import Document, read
from data_prep.sources.inputs import find_inputs
from data_prep.stages import clean, dedup
from data_prep.tally import Contents
from data_prep.tasks.splits import shard_writer
from data_prep.tokenizer import Tokenizer


def stage_seconds(config: DataConfig, tokenizer: Tokenizer, folder: Path) -> dict[str, float]:
    """CPU seconds by part of the work, over the whole corpus of `config`."""
    clock = _Clock()
    found = find_inputs(config)
    splits = [split for unit in plan_units(found, config) for split in unit.splits]
    documents: list[Any] = clock.time(
        "read", lambda: [document for split in splits for document in read(split, config)]
    )
    documents = clock.time("clean", lambda: list(clean.step(config.stages[0])(documents)))
    clock.time("dedup: observe", lambda: _observe(dedup.observer(config.stages[1]), documents, folder / "observed"))
    clock.time("tally", lambda: _tally(documents))
    clock.time("write documents", lambda: _write(documents, folder / "documents"))
    documents = clock.time("read documents", lambda: list(read_documents(folder / "documents")))
    token_ids = clock.time("encode", lambda: [tokenizer.encode(document.text) for document in documents])
    pairs = list(zip(documents, token_ids, strict=True))
    for name in ("words", "sents"):
        only = ColumnsConfig.model_validate({name: getattr(config.columns, name)})
        clock.time(name, functools.partial(lambda only: list(annotated(pairs, tokenizer, only)), only))
    tokenized = [
        TokenizedDocument(d.id, ids, columns) for d, ids, columns in annotated(pairs, tokenizer, config.columns)
    ]
    assert config.columns.weight is not None
    observer = weight.observer(config.columns.weight, tokenizer.vocab_size)
    clock.time("weight: observe", lambda: collections.deque(itertools.starmap(observer.add, pairs), maxlen=0))
    clock.time("write shards", lambda: _write_shards(config, tokenizer, tokenized, folder / "shards"))
    return clock.seconds


class _Clock:
    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def time(self, name: str, work: Callable[[], Any]) -> Any:
        """What `work` gives; its CPU seconds are kept."""
        begin = time.process_time()
        result = work()
        self.seconds[name] = time.process_time() - begin
        return result


def _observe(observer: Any, documents: list[Document], folder: Path) -> None:
    for document in documents:
        observer.add(document)
    folder.mkdir()
    observer.save(folder)


def _tally(documents: list[Document]) -> None:
    contents = Contents()
    for document in documents:
        contents.add(document)


def _write(documents: list[Document], path: Path) -> None:
    with DocumentWriter(path) as writer:
        for document in documents:
            writer.add(document)
        writer.close()


def _write_shards(config: DataConfig, tokenizer: Tokenizer, documents: list[TokenizedDocument], folder: Path) -> None:
    folder.mkdir()
    with shard_writer(folder, token_dtype(tokenizer.vocab_size), config.shards) as shards:
        for document in documents:
            shards.add("train", document)
        shards.close()
