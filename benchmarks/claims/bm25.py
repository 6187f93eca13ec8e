"""BM25 beside the vectors: what the overlap of words alone finds."""

import re
from collections.abc import Sequence

import bm25s
import numpy as np

_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Za-z][a-z]*|\d+")


def bm25_scores(queries: Sequence[str], documents: Sequence[str]) -> np.ndarray:
    """The score of each document for each query, [queries, documents]; Lucene's BM25 with k1 1.5 and b 0.75."""
    index = bm25s.BM25(k1=1.5, b=0.75)
    index.index([words_of(text) for text in documents], show_progress=False)
    nothing = np.zeros(len(documents), np.float32)
    return np.stack([index.get_scores(words) if (words := words_of(text)) else nothing for text in queries])


def words_of(text: str) -> list[str]:
    """The words of a text in lower case; `snake_case` and `CamelCase` are taken apart, as queries name their parts."""
    return [word.lower() for word in _WORD.findall(text)]
