"""Corpora to documents. One file per kind of source; `read` picks it, `inputs` finds the files."""

from collections.abc import Iterator

from data_prep.config import DataConfig
from data_prep.sources import code, jsonl, text
from data_prep.sources.document import BadDocument, Document, InputSplit

__all__ = ["BadDocument", "Document", "InputSplit", "read"]

_READERS = {"text": text.read, "jsonl": jsonl.read, "code": code.read}


def read(split: InputSplit, config: DataConfig) -> Iterator[Document | BadDocument]:
    """The documents of one split, in file order. InputError if its file is unreadable, or changed since the plan."""
    yield from _READERS[split.source](split, config)
