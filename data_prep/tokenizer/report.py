"""The vocabulary report: how well a tokenizer fits its texts, by language and source. Pure.

Invariant: the report follows from the model and the texts alone. Groups are sorted by name and pieces by what they are
ranked by, then id, so equal input gives equal bytes.

Fertility is tokens per word, where a word is a run of characters that are not white space (text without spaces between
words, as in Chinese, has few of those: read its characters per token instead).
"""

import functools
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from data_prep.tokenizer.special import SPECIAL_PIECES
from data_prep.tokenizer.tokenizer import Tokenizer

LISTED_PIECES = 20  # longest, most used
_MOST_WAITING = 2**16  # tokens


@dataclass
class _Group:
    """What is summed over the texts of a language or a source. Ids wait: counting is a pass over the vocabulary."""

    vocab_size: int
    documents: int = 0
    text_bytes: int = 0
    characters: int = 0
    words: int = 0
    waiting: list[np.ndarray] = field(default_factory=list)
    num_waiting: int = 0
    counted: np.ndarray | None = None

    def add(self, text_bytes: int, characters: int, words: int, token_ids: np.ndarray) -> None:
        self.documents += 1
        self.text_bytes += text_bytes
        self.characters += characters
        self.words += words
        self.waiting.append(token_ids)
        self.num_waiting += len(token_ids)
        if self.num_waiting >= _MOST_WAITING:
            self.counted, self.waiting, self.num_waiting = self.counts(), [], 0

    def counts(self) -> np.ndarray:
        """How often each id occurs: [vocab_size] int64."""
        ids = np.concatenate([np.zeros(0, np.int32), *self.waiting])
        counts = np.bincount(ids, minlength=self.vocab_size)
        return counts if self.counted is None else counts + self.counted


def vocabulary_report(tokenizer: Tokenizer, texts: Iterable[tuple[str, str, str]]) -> dict[str, Any]:
    """What the data card shows of a tokenizer, as plain JSON values.

    `texts`: (language, source, text) of each document of a sample; an unknown language is "". The keys: `vocab_size`,
    `total`, `languages` and `sources` (by name; each group as in `_figures`), `longest` and `most_used` pieces, and
    `unused`: how many ordinary pieces the sample never yields, with examples.
    """
    group_of = functools.partial(_Group, tokenizer.vocab_size)
    total, languages, sources = group_of(), defaultdict[str, _Group](group_of), defaultdict[str, _Group](group_of)
    for language, source, text in texts:
        counts = len(text.encode()), len(text), len(text.split())
        token_ids = tokenizer.encode(text)
        for group in (total, languages[language], sources[source]):
            group.add(*counts, token_ids)
    kinds = _Kinds(tokenizer)
    of_pieces = total.counts()
    return {
        "vocab_size": tokenizer.vocab_size,
        "total": _figures(total, kinds),
        "languages": {name: _figures(languages[name], kinds) for name in sorted(languages)},
        "sources": {name: _figures(sources[name], kinds) for name in sorted(sources)},
        "longest": kinds.longest(of_pieces),
        "most_used": kinds.most_used(of_pieces),
        "unused": kinds.unused(of_pieces),
    }


class _Kinds:
    """Which ids are ordinary pieces, which stand for a byte, which for the unknown."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        ids = range(tokenizer.vocab_size)
        self._pieces = [tokenizer.id_to_piece(index) for index in ids]
        self.is_byte = np.array([tokenizer.is_byte(index) for index in ids])
        self.is_unknown = np.arange(tokenizer.vocab_size) == tokenizer.special.unk
        special = set(SPECIAL_PIECES)
        is_special = np.array([piece in special for piece in self._pieces])
        self._ordinary = np.flatnonzero(~(self.is_byte | is_special))

    def longest(self, counts: np.ndarray) -> list[dict[str, Any]]:
        """Ordinary pieces by length: a URL or a run of dashes here says what the sample was full of."""
        lengths = np.fromiter(map(len, self._pieces), np.int64, len(self._pieces))[self._ordinary]
        ranked = self._ordinary[np.argsort(-lengths, kind="stable")]
        return [self._described(index, counts) for index in ranked[:LISTED_PIECES].tolist()]

    def most_used(self, counts: np.ndarray) -> list[dict[str, Any]]:
        """Pieces of any kind by their count in the sample."""
        ranked = np.lexsort((np.arange(len(counts)), -counts))[:LISTED_PIECES].tolist()
        return [self._described(index, counts) for index in ranked if counts[index]]

    def unused(self, counts: np.ndarray) -> dict[str, Any]:
        """How many ordinary pieces the sample never yields, of how many, and the first of them."""
        unused = self._ordinary[counts[self._ordinary] == 0]
        examples = [self._described(index, counts) for index in unused[:LISTED_PIECES].tolist()]
        return {"count": len(unused), "of": len(self._ordinary), "examples": examples}

    def _described(self, index: int, counts: np.ndarray) -> dict[str, Any]:
        return {"id": index, "piece": self._pieces[index], "count": int(counts[index])}


def _figures(group: _Group, kinds: _Kinds) -> dict[str, Any]:
    """Counts, and ratios that are None where there is nothing to divide by."""
    counts = group.counts()
    tokens = int(counts.sum())
    return {
        "documents": group.documents,
        "text_bytes": group.text_bytes,
        "characters": group.characters,
        "words": group.words,
        "tokens": tokens,
        "tokens_per_word": _ratio(tokens, group.words),
        "characters_per_token": _ratio(group.characters, tokens),
        "bytes_per_token": _ratio(group.text_bytes, tokens),
        "byte_tokens_share": _ratio(int(counts[kinds.is_byte].sum()), tokens),
        "unknown_share": _ratio(int(counts[kinds.is_unknown].sum()), tokens),
    }


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None
