"""A small sample of the corpus for the card: the first documents of some units.

Invariant: it depends on the corpus and its units alone, and costs the same for a corpus of any size: at most
`MOST_UNITS` files are opened, of each only the beginning is read (`READ_CHARS` in all, or one document of each), and
`TEXT_CHARS` of a document are kept.
"""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from data_prep.sources.document import Document

T = TypeVar("T")

MOST_UNITS, MOST_DOCUMENTS = 64, 512
READ_CHARS = 2**23
TEXT_CHARS = 4096


@dataclass(frozen=True)
class Sampled:
    """The beginning of a document. `characters` is the length of all of it."""

    id: str
    source: str
    lang: str
    pair: str | None
    text: str
    characters: int


def sample_documents(units: Sequence[Iterable[Document]]) -> list[Sampled]:
    """Documents from the beginnings of evenly spread units (of the last pass), in their order."""
    chosen = spread(units, MOST_UNITS)
    documents, characters = (most // max(len(chosen), 1) for most in (MOST_DOCUMENTS, READ_CHARS))
    return [document for unit in chosen for document in _first_of(unit, documents, characters)]


def examples(sample: Iterable[Sampled], most: int) -> list[Sampled]:
    """Some documents of every language in turn, those with the smallest hashes of their ids; by language."""
    by_language: dict[str, list[Sampled]] = defaultdict(list)
    for document in sorted(sample, key=lambda document: _hash(document.id)):
        by_language[document.lang].append(document)
    ranked = sorted(
        (rank, lang, document) for lang, found in by_language.items() for rank, document in enumerate(found[:most])
    )
    return [document for _, _, document in sorted(ranked[:most], key=lambda item: (item[1], item[0]))]


def spread(items: Sequence[T], most: int) -> list[T]:
    """At most `most` of the items, evenly spread."""
    count = min(len(items), most)
    return [items[len(items) * number // count] for number in range(count)]


def _first_of(unit: Iterable[Document], most: int, most_characters: int) -> Iterator[Sampled]:
    characters = 0
    for number, document in enumerate(unit):
        if number == most or characters >= most_characters:
            return
        characters += document.num_chars
        text = document.text[:TEXT_CHARS]
        yield Sampled(document.id, document.source, document.lang or "", document.pair, text, document.num_chars)


def _hash(name: str) -> bytes:
    return hashlib.sha256(name.encode("utf-8", "surrogatepass")).digest()
