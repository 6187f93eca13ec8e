"""Corpora to documents. One file per kind of source, named after it; `read` picks it, `inputs` finds the files."""

import importlib
from collections.abc import Iterator

from data_prep.sources.config import SourceConfig
from data_prep.sources.document import BadDocument, Document, InputFile, InputSplit
from data_prep.sources.streams import BrokenFileError

__all__ = ["BadDocument", "Document", "InputFile", "InputSplit", "read"]


def read(split: InputSplit, config: SourceConfig) -> Iterator[Document | BadDocument]:
    """The documents of one split, in file order. InputError if its file is unreadable, or changed since the plan.

    A file that is damaged is a BadDocument after what could be read of it.
    """
    source = importlib.import_module(f"data_prep.sources.{split.file.source}")
    try:
        yield from source.read(split, config)
    except BrokenFileError as error:
        yield BadDocument(split.path, 0, "broken_file", str(error), place="")
