"""Annotations of a document, stored beside its tokens: where words and sentences begin, language, pair, spans.

Invariant: a column is a function of the document, its tokens and the config, and has as many numbers as the document
has tokens (`words`, `sents`), one (`lang`, `pair`), or rows of start, stop and kind in tokens (`spans`).

The importance weights (`weight`, `ngrams`) need the whole corpus: `data_prep.finish.weight` makes them.
"""

import functools
import itertools
from collections.abc import Iterable, Iterator, Sequence
from importlib.metadata import version
from typing import TypeVar

import numpy as np

from data_prep.columns.config import ColumnsConfig
from data_prep.columns.marks import token_marks
from data_prep.columns.origin import lang_number, pair_number
from data_prep.columns.span_sources import packages, token_spans
from data_prep.columns.spans import KINDS
from data_prep.shards import Column
from data_prep.sources.document import Document
from data_prep.tokenizer import Tokenizer

VERSION = 1  # raised when the same document would get other columns

_BATCH_CHARACTERS = 2**17
T = TypeVar("T")
Encoded = tuple[Document, np.ndarray]  # with its token ids

_MARKS = Column(dtype="uint8", per="token")
_TYPES = {
    "words": _MARKS,
    "sents": _MARKS,
    "lang": Column(dtype="uint16", per="document"),
    "pair": Column(dtype="int64", per="document"),
    "spans": Column(dtype="int32", per="span", kinds=list(KINDS)),
    "weight": _MARKS,
    "ngrams": _MARKS,
}


def column_types(config: ColumnsConfig) -> dict[str, Column]:
    """The types of the columns that a dataset of this config has, for its manifest."""
    asked = [name for name in ("words", "sents", "lang", "pair", "spans", "weight") if getattr(config, name)]
    if config.weight and config.weight.kind == "pmi":
        asked.append("ngrams")
    return {name: _TYPES[name] for name in asked}


def column_versions(config: ColumnsConfig) -> list[str]:
    """What else `columns_of` depends on: its own version and those of the libraries it uses, for the ids of tasks."""
    used = ["icu4py"] if config.sents or config.words == "unicode" else []
    return [f"columns {VERSION}", *(f"{name} {_version(name)}" for name in [*used, *packages(config.spans)])]


@functools.cache
def _version(package: str) -> str:
    """Asked for each task; to find it takes longer than the rest of a task's id."""
    return version(package)


def columns_of(
    document: Document, token_ids: np.ndarray, tokenizer: Tokenizer, config: ColumnsConfig
) -> dict[str, np.ndarray]:
    """The columns of a document that do not need the corpus, as `ChunkBuilder.add` takes them."""
    [(_, _, columns)] = annotated([(document, token_ids)], tokenizer, config)
    return columns


def annotated(
    encoded: Iterable[Encoded], tokenizer: Tokenizer, config: ColumnsConfig
) -> Iterator[tuple[Document, np.ndarray, dict[str, np.ndarray]]]:
    """Documents and their tokens with their columns, in order; a few are in memory at a time."""
    for batch in _batches(encoded):
        of_text = _columns_of_texts(batch, tokenizer, config)
        for (document, token_ids), columns in zip(batch, of_text, strict=True):
            if config.lang:
                columns["lang"] = np.array([lang_number(document.lang)], np.uint16)
            if config.pair:
                columns["pair"] = np.array([pair_number(document)], np.int64)
            yield document, token_ids, columns


def batches(documents: Iterable[Document]) -> Iterator[list[Document]]:
    """The documents in order, a few at a time: the same texts make the same batches."""
    for batch in _batches((document, None) for document in documents):
        yield [document for document, _ in batch]


def _batches(encoded: Iterable[tuple[Document, T]]) -> Iterator[list[tuple[Document, T]]]:
    batch: list[tuple[Document, T]] = []
    num_characters = 0
    for document, token_ids in encoded:
        batch.append((document, token_ids))
        num_characters += document.num_chars
        if num_characters >= _BATCH_CHARACTERS:
            yield batch
            batch, num_characters = [], 0
    if batch:
        yield batch


def _columns_of_texts(
    batch: Sequence[Encoded], tokenizer: Tokenizer, config: ColumnsConfig
) -> list[dict[str, np.ndarray]]:
    """The columns that follow from the texts."""
    columns: list[dict[str, np.ndarray]] = [{} for _ in batch]
    if config.words or config.sents:
        documents, token_ids = zip(*batch, strict=True)
        marks = token_marks(documents, token_ids, tokenizer, config.words, config.sents)
        bounds = itertools.pairwise(itertools.accumulate((len(ids) for _, ids in batch), initial=0))
        columns = [{name: column[start:stop] for name, column in marks.items()} for start, stop in bounds]
    if config.spans:
        for (document, ids), made in zip(batch, columns, strict=True):
            made["spans"] = token_spans(document, config.spans, tokenizer.token_starts(document.text, ids))
    return columns
