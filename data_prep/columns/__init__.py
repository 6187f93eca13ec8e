"""Annotations of a document, stored beside its tokens: where words and sentences begin, language, pair, spans.

Invariant: a column is a function of the document, its tokens and the config, and has as many numbers as the document
has tokens (`words`, `sents`), one (`lang`, `pair`), or rows of start, stop and kind in tokens (`spans`).

The importance weights (`weight`, `ngrams`) need the whole corpus: `data_prep.finish.weight` makes them.
"""

from importlib.metadata import version

import numpy as np

from data_prep.columns.characters import Characters, anchors, unit_starts
from data_prep.columns.config import ColumnsConfig
from data_prep.columns.origin import lang_code, lang_number, pair_number
from data_prep.columns.sents import sentence_places, sentence_starts
from data_prep.columns.spans import KINDS, packages, token_spans
from data_prep.columns.words import word_starts
from data_prep.shards import Column
from data_prep.sources.document import Document
from data_prep.tokenizer import Tokenizer

VERSION = 1  # raised when the same document would get other columns

__all__ = ["VERSION", "ColumnsConfig", "column_types", "column_versions", "columns_of", "lang_code"]

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
    return [f"columns {VERSION}", *(f"{name} {version(name)}" for name in [*used, *packages(config.spans)])]


def columns_of(
    document: Document, token_ids: np.ndarray, tokenizer: Tokenizer, config: ColumnsConfig
) -> dict[str, np.ndarray]:
    """The columns of a document that do not need the corpus, as `ChunkBuilder.add` takes them."""
    columns: dict[str, np.ndarray] = {}
    if config.words or config.sents or config.spans:
        columns |= _columns_of_text(document, tokenizer.token_starts(document.text, token_ids), config)
    if config.lang:
        columns["lang"] = np.array([lang_number(document.lang)], np.uint16)
    if config.pair:
        columns["pair"] = np.array([pair_number(document)], np.int64)
    return columns


def _columns_of_text(document: Document, token_starts: np.ndarray, config: ColumnsConfig) -> dict[str, np.ndarray]:
    columns: dict[str, np.ndarray] = {}
    characters = Characters.of(document.text)
    anchored = anchors(characters, token_starts)
    if config.words:
        columns["words"] = unit_starts(word_starts(characters, config.words), anchored)
    if config.sents:
        columns["sents"] = sentence_starts(sentence_places(characters, config.sents), anchored)
    if config.spans:
        columns["spans"] = token_spans(document, config.spans, token_starts)
    return columns
