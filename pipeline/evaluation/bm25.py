"""BM25 beside the vectors: what the overlap of words alone finds."""

import re
from collections.abc import Iterator, Sequence

import bm25s
import numpy as np

_RUN = re.compile(r"[^\W\d_]+|\d+")
_PART = re.compile(r"[A-Z]+(?![a-z])|[A-Za-z][a-z]*|\d+")
_UNSPACED = re.compile(r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]+")


def bm25_scores(queries: Sequence[str], documents: Sequence[str]) -> np.ndarray:
    """The score of each document for each query, [queries, documents]; Lucene's BM25 with k1 1.5 and b 0.75."""
    index = bm25s.BM25(k1=1.5, b=0.75)
    index.index([words_of(text) for text in documents], show_progress=False)
    nothing = np.zeros(len(documents), np.float32)
    return np.stack([index.get_scores(words) if (words := words_of(text)) else nothing for text in queries])


def words_of(text: str) -> list[str]:
    """The words of a text in lower case; `snake_case` and `CamelCase` are taken apart, as queries name their parts.

    Of scripts that put no space between words (Chinese, Japanese, Thai, Lao, Burmese, Khmer), pairs of characters.
    """
    return [word.lower() for run in _RUN.findall(text) for word in _words_of_run(run)]


def _words_of_run(run: str) -> Iterator[str]:
    if run.isascii():
        yield from _PART.findall(run)
    elif _UNSPACED.search(run):
        yield from (run[start : start + 2] for start in range(max(1, len(run) - 1)))
    else:
        yield run
