"""Which tokens begin a word or a sentence, for many texts at once: by `boundaries.cpp`, else by the Python code here.

Invariant: both give the same; the Python code is the specification.
"""

from collections.abc import Sequence

import numpy as np

from data_prep.columns.boundaries import boundaries
from data_prep.columns.characters import BLANK_LINE, Texts, anchors, unit_starts
from data_prep.columns.sents import SentenceKind, sentence_places, sentence_starts
from data_prep.columns.words import word_starts
from data_prep.sources.document import Document
from data_prep.tokenizer import Tokenizer

Marks = dict[str, np.ndarray]  # `words` and `sents`, as far as they were asked for: each [tokens of all texts] uint8


def token_marks(
    documents: Sequence[Document],
    token_ids: Sequence[np.ndarray],
    tokenizer: Tokenizer,
    words: str | None,
    sents: SentenceKind | None,
) -> Marks:
    """Marks of the documents' tokens, one document after another."""
    fast, texts = boundaries(words, sents), [document.utf8 for document in documents]
    found = fast.of_tokens(texts, token_ids, tokenizer.piece_num_bytes) if fast else None
    if found is None:
        return python_marks([document.text for document in documents], token_ids, tokenizer, words, sents)
    return {name: marks for name, kind, marks in zip(("words", "sents"), (words, sents), found, strict=True) if kind}


def python_marks(
    texts: Sequence[str],
    token_ids: Sequence[np.ndarray],
    tokenizer: Tokenizer,
    words: str | None,
    sents: SentenceKind | None,
) -> Marks:
    """The same by NumPy and ICU. ASCII texts, for which there are faster ways, go together."""
    bounds = np.cumsum([0, *map(len, token_ids)])
    marks = {name: np.empty(bounds[-1], np.uint8) for name, kind in (("words", words), ("sents", sents)) if kind}
    for ascii_only in (True, False):
        numbers = [number for number, text in enumerate(texts) if text.isascii() is ascii_only]
        if not numbers:
            continue
        chosen = [texts[n] for n in numbers], [token_ids[n] for n in numbers]
        places = np.concatenate([np.arange(bounds[n], bounds[n + 1]) for n in numbers])
        for name, column in _marks_of_joined(*chosen, tokenizer, words, sents).items():
            marks[name][places] = column
    return marks


def _marks_of_joined(
    texts: Sequence[str],
    token_ids: Sequence[np.ndarray],
    tokenizer: Tokenizer,
    words: str | None,
    sents: SentenceKind | None,
) -> Marks:
    joined = Texts(texts)
    num_tokens = [len(ids) for ids in token_ids]
    starts = tokenizer.token_starts_of_texts(texts, token_ids)
    starts += np.repeat(np.arange(len(texts)) * len(BLANK_LINE), num_tokens)
    anchored = anchors(joined, starts, num_tokens)
    marks: Marks = {}
    if words:
        marks["words"] = unit_starts(word_starts(joined, words), anchored)
    if sents:
        marks["sents"] = sentence_starts(sentence_places(joined, sents), anchored)
    return marks
