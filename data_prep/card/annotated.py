"""One document of the dataset with its columns, token by token, to look at.

The tokens come from the shards as they were written, so the card shows what training reads. Special marks: a word
begins at a token with `word`, a sentence with `sentence`; `level` (0 to 4) is the token's weight beside the heaviest
one's; `kinds` are the spans it lies in.
"""

import hashlib
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from data_prep.columns.origin import lang_code
from data_prep.shards import Column, Split, TokenizedDocument
from data_prep.tokenizer import Tokenizer
from data_prep.tokenizer.visible import visible

MOST_TOKENS, FEWEST_TOKENS = 220, 60
_MOST_LOOKED_AT = 64  # documents, of the first chunk
_LEVELS = 4

ABOUT = {
    "words": "where words begin",
    "sents": "where sentences begin",
    "lang": "language of the document",
    "pair": "equal for documents that are translations of each other",
    "spans": "identifiers and comments of code, or elements of HTML",
    "weight": "importance of each token, 1 to 255",
    "ngrams": "where groups of tokens that belong together begin",
}


@dataclass(frozen=True)
class Token:
    """A token as it is shown."""

    text: str
    word: bool
    sentence: bool
    joined: bool  # goes on with the n-gram before it
    level: int
    kinds: str


@dataclass(frozen=True)
class Annotated:
    """The document. `facts` are its columns of one number, `aligned` the ids of documents of the same pair."""

    id: str
    facts: Sequence[str]
    aligned: Sequence[str]
    tokens: Sequence[Token]
    more: int


def annotated_document(split: Split, columns: Mapping[str, Column], tokenizer: Tokenizer) -> Annotated | None:
    """A document of the first chunk; None where the split is empty."""
    if not split.num_chunks:
        return None
    documents = list(itertools.islice(split.chunk(0).documents(), _MOST_LOOKED_AT))
    document = min(documents, key=_rank)
    shown = document.token_ids[:MOST_TOKENS]
    return Annotated(
        document.id,
        [_fact(name, document) for name, column in columns.items() if column.per == "document"],
        _aligned(document, documents) if "pair" in columns else [],
        _tokens(document, columns, [visible(tokenizer.id_to_piece(index)) for index in shown.tolist()]),
        len(document.token_ids) - len(shown),
    )


def _rank(document: TokenizedDocument) -> tuple[int, bytes]:
    """Documents that are long enough first, in the order of their hashes."""
    tokens = min(len(document.token_ids), FEWEST_TOKENS)
    return -tokens, hashlib.sha256(document.id.encode("utf-8", "surrogatepass")).digest()


def _fact(name: str, document: TokenizedDocument) -> str:
    number = int(document.columns[name][0])
    if name == "lang":
        return f"lang {lang_code(number) or 'unknown'}"
    if name == "pair":
        return f"pair {number:016x}" if number else "no pair"
    return f"{name} {number}"


def _aligned(document: TokenizedDocument, documents: Sequence[TokenizedDocument]) -> list[str]:
    pair = int(document.columns["pair"][0])
    return [other.id for other in documents if pair and other is not document and int(other.columns["pair"][0]) == pair]


def _tokens(document: TokenizedDocument, columns: Mapping[str, Column], pieces: Sequence[str]) -> list[Token]:
    count = len(pieces)
    words, sentences = (_marks(document, columns, name, count, 0) for name in ("words", "sents"))
    starts = _marks(document, columns, "ngrams", count, 1)
    weights = _marks(document, columns, "weight", count, 0).astype(int)
    levels = (weights * _LEVELS - 1) // max(int(weights.max(initial=0)), 1) + (weights > 0)
    kinds = _kinds(document, columns, count)
    return [
        Token(piece, bool(word), bool(sentence), not start, min(int(level), _LEVELS) if level > 0 else 0, kind)
        for piece, word, sentence, start, level, kind in zip(
            pieces, words, sentences, starts, levels, kinds, strict=True
        )
    ]


def _marks(
    document: TokenizedDocument, columns: Mapping[str, Column], name: str, count: int, missing: int
) -> np.ndarray:
    return document.columns[name][:count] if name in columns else np.full(count, missing, np.uint8)


def _kinds(document: TokenizedDocument, columns: Mapping[str, Column], count: int) -> list[str]:
    """The kinds of the spans that each token lies in, outer ones first."""
    found: list[list[str]] = [[] for _ in range(count)]
    if "spans" in columns:
        names = columns["spans"].kinds or []
        for start, stop, kind in document.columns["spans"].tolist():
            for place in range(min(start, count), min(stop, count)):
                found[place].append(names[kind])
    return [" ".join(kinds) for kinds in found]
