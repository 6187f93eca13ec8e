"""The documents that probes ask about: held out from training, or of a dataset that the user names.

Invariant: which documents, and their order, follow from the dataset alone, so that every model is asked the same. A
dataset with another tokenizer than the model's gives its texts, which are encoded anew.
"""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from data_prep.columns.origin import lang_code
from data_prep.errors import InputError
from data_prep.shards import Dataset
from data_prep.tokenizer import Tokenizer
from pipeline.training.assembly import HELDOUT

Tokens = npt.NDArray[np.integer]
LANGUAGE, PAIR = "lang", "pair"
TOP_FOLDER = "(top folder)"  # the source of files that lie in none
MOST_DOCUMENTS = 2000
_MOST_CHUNKS = 32


@dataclass(frozen=True)
class Document:
    """One text; `pair` is the same number for a document and its translations, None for those without."""

    id: str
    text: str
    tokens: Tokens
    language: str | None
    pair: int | None

    @property
    def source(self) -> str:
        """Where it comes from."""
        return source_of(self.id)


class Texts:
    """The documents of `dataset`, as `tokenizer` cuts them."""

    def __init__(self, dataset: Dataset, tokenizer: Tokenizer, trained_on: str | None = None) -> None:
        """`trained_on` is the fingerprint of what the model read: of that dataset, only what was held out is asked."""
        self._dataset, self._tokenizer, self._trained_on = dataset, tokenizer, trained_on
        self._recode = Tokenizer.load(dataset.tokenizer_folder)
        self.split = HELDOUT if dataset.manifest.splits.get(HELDOUT) else "train"

    @property
    def settings(self) -> dict[str, object]:
        """What a result says of its texts."""
        return {
            "dataset": self._dataset.fingerprint[:16],
            "split": self.split,
            "documents": len(self.documents),
        }

    @cached_property
    def documents(self) -> list[Document]:
        """At most MOST_DOCUMENTS, from chunks spread evenly over the split; InputError where there is none."""
        if self.split != HELDOUT and self._dataset.fingerprint == self._trained_on:
            raise InputError(
                f"{self._dataset.folder}: no document was held out from training, so there is nothing to ask about: "
                "prepare with data.heldout_fraction=0.05, or give other text with --data"
            )
        found = list(self._read())
        if not found:
            raise InputError(f"{self._dataset.folder}: its split {self.split} holds no document")
        keep = np.unique(np.linspace(0, len(found) - 1, MOST_DOCUMENTS).round().astype(int))
        return [found[number] for number in keep]

    def windows(self, most: int, size: int, fewest: int = 8) -> list[tuple[Document, Tokens]]:
        """Up to `most` windows of `fewest` to `size` tokens: the first of every document, then the second, ..."""
        found: list[tuple[Document, Tokens]] = []
        for round_number in range(max(len(document.tokens) for document in self.documents) // size + 1):
            for document in self.documents:
                window = document.tokens[round_number * size : (round_number + 1) * size]
                if len(window) >= fewest:
                    found.append((document, window))
                if len(found) == most:
                    return found
        return found

    def translations(self) -> dict[tuple[str, str], list[tuple[Document, Document]]]:
        """By two languages (in alphabetical order, "?" for none), each document in the one with that in the other."""
        by_pair: dict[int, list[Document]] = {}
        for document in self.documents:
            if document.pair is not None:
                by_pair.setdefault(document.pair, []).append(document)
        found: dict[tuple[str, str], list[tuple[Document, Document]]] = {}
        for group in by_pair.values():
            ordered = sorted(group, key=lambda document: document.language or "?")
            for first, second in itertools.combinations(ordered, 2):
                found.setdefault((first.language or "?", second.language or "?"), []).append((first, second))
        return dict(sorted(found.items()))

    def _read(self) -> Iterator[Document]:
        split = self._dataset.split(self.split)
        columns = self._dataset.manifest.columns
        for number in _spread(split.num_chunks):
            for document in split.chunk(number).documents():
                tokens = np.asarray(document.token_ids)
                text = self._recode.decode(tokens)
                if self._recode.digest != self._tokenizer.digest:
                    tokens = self._tokenizer.encode(text)
                language = lang_code(int(document.columns[LANGUAGE][0])) if LANGUAGE in columns else None
                pair = int(document.columns[PAIR][0]) if PAIR in columns else 0
                yield Document(document.id, text, tokens, language, pair or None)


def source_of(document_id: str) -> str:
    """The file of records that a document is one of, or the folder its own file lies in."""
    file, _, record = document_id.rpartition(":")
    if file and record.isdecimal():
        return file
    return document_id.rpartition("/")[0] or TOP_FOLDER


def _spread(num_chunks: int) -> Sequence[int]:
    numbers: list[int] = np.unique(np.linspace(0, num_chunks - 1, _MOST_CHUNKS).round().astype(int)).tolist()
    return numbers
