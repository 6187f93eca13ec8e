"""How important each token is: the column `weight`, [tokens] uint8 from 1 (hardly) to 255; for `pmi` also `ngrams`.

- `idf`: 1 + floor(8 log2(documents / documents with the token)). The same for every occurrence of a token; a token of
  every document weighs 1. (Retrieval Oriented Masking: unsupervised term weights.)
- `pmi`: 1 + floor(8 log2(p(token | document) / p(token))), at least 1: what the token says about its document. And
  `ngrams` is 1 where a new n-gram begins: a token whose pair with the one before is correlated goes on with its n-gram,
  up to `max_ngram` tokens. Correlated are the `max_pairs` pairs of the highest PMI,
  log2(pairs' count x tokens / (first's count x second's count)) > 0, among those that occur `min_count` times.

Invariant: counts are whole numbers of the training documents, logarithms are exact in eighths, ties fall to the smaller
token ids: the columns do not depend on units or parts. A token that no training document has counts as in one.

1. The observer counts a unit: documents with each token (`idf`), or tokens and pairs of neighbours (`pmi`).
2. `pairs` (pmi) adds up the pairs of one range of keys and keeps what could be among the best.
3. `weights` adds up the rest: a table of weights by token (`idf`), or counts and the sorted keys of correlated pairs.
4. The finish looks every token up.
"""

import functools
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from data_prep.columns.config import WeightConfig
from data_prep.finish.document_counts import DocumentCounts
from data_prep.finish.finish import ChunkFinish, Finish, TokenizedDocument, TokenObserver
from data_prep.finish.logarithms import log2_eighths
from data_prep.finish.pairs import COUNTS_NAME, KEYS_NAME, Counts, PairCounter, merged, pair_keys, pair_tokens
from data_prep.shards import Chunk
from data_prep.sources.document import Document
from data_prep.stages.stage import Decision, Part, Reduction

Config = WeightConfig
VERSION = 1

_TOKENS_NAME, _DOCUMENTS_NAME, _WEIGHTS_NAME = "tokens.npy", "documents.npy", "weights.npy"
_HIGHEST = 255


def observer(config: Config, vocab_size: int) -> TokenObserver:
    """What counts a unit's documents."""
    return _IdfObserver(vocab_size) if config.kind == "idf" else _PmiObserver(vocab_size)


def observing(config: Config) -> Any:
    """What the observer depends on."""
    return config.kind


class _IdfObserver:
    """Counts in how many documents each token occurs."""

    def __init__(self, vocab_size: int) -> None:
        self._counted = DocumentCounts(vocab_size)

    def add(self, document: Document, token_ids: np.ndarray) -> None:
        self._counted.add(token_ids)

    def save(self, folder: Path) -> dict[str, Any]:
        counts = self._counted.counts
        np.save(folder / _DOCUMENTS_NAME, counts, allow_pickle=False)
        return {"documents": int(counts[0])}


class _PmiObserver:
    """Counts tokens, [vocab_size] int64, and pairs of neighbours."""

    def __init__(self, vocab_size: int) -> None:
        self._counts, self._pairs = np.zeros(vocab_size, np.int64), PairCounter()

    def add(self, document: Document, token_ids: np.ndarray) -> None:
        self._counts += np.bincount(token_ids, minlength=len(self._counts))
        self._pairs.add(token_ids)

    def save(self, folder: Path) -> dict[str, Any]:
        np.save(folder / _TOKENS_NAME, self._counts, allow_pickle=False)
        return {"tokens": int(self._counts.sum()), "pairs": self._pairs.save(folder)}


def _reduce_pairs(config: Config, part: Part) -> dict[str, Any]:
    """The best pairs of one range of keys. For `idf` there are none."""
    if config.kind == "idf":
        return {}
    pairs = _best(config, merged(part.observed, part.number, part.count), _sum(part.observed, _TOKENS_NAME))
    _save_pairs(part.out, pairs)
    return {"pairs": len(pairs[0])}


def _reduce_weights(config: Config, part: Part) -> dict[str, Any]:
    """What the finish looks up."""
    if config.kind == "idf":
        table = idf_weights(_sum(part.observed, _DOCUMENTS_NAME))
        np.save(part.out / _WEIGHTS_NAME, table, allow_pickle=False)
        return {"mean_weight": float(table.mean())}
    counts = _sum(part.observed, _TOKENS_NAME)
    keys, pair_counts = _best(config, merged(part.inputs, 0, 1), counts)
    _save_pairs(part.out, (keys, pair_counts))
    np.save(part.out / _TOKENS_NAME, counts, allow_pickle=False)
    return {"correlated_pairs": len(keys)}


REDUCTIONS = (Reduction("pairs", _reduce_pairs, partitioned=True), Reduction("weights", _reduce_weights))


def finish(config: Config, decision: Decision, split: str) -> Finish:
    """Adds the column `weight`, and for `pmi` `ngrams`, to every document of either split."""
    [folder] = decision.folders
    if config.kind == "idf":
        table = np.load(folder / _WEIGHTS_NAME, allow_pickle=False)
        return functools.partial(_with_idf, table)
    counts = np.load(folder / _TOKENS_NAME, allow_pickle=False)
    keys = np.load(folder / KEYS_NAME, allow_pickle=False)
    return functools.partial(_with_pmi, config, counts, keys)


def chunk_finish(config: Config, decision: Decision) -> ChunkFinish | None:
    """`finish` for whole chunks; None for `pmi`, where weights depend on the document."""
    if config.kind != "idf":
        return None
    [folder] = decision.folders
    return functools.partial(_chunk_with_idf, np.load(folder / _WEIGHTS_NAME, allow_pickle=False))


def idf_weights(counts: np.ndarray) -> np.ndarray:
    """Weight of each token, [vocab_size] uint8, from the number of documents and of those with each token."""
    return _weights(log2_eighths([np.maximum(counts[0], 1)], [np.maximum(counts[1:], 1)]))


def pmi_weights(token_ids: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Weight of each token of a document, [tokens] uint8, from the counts of all tokens of the corpus."""
    tokens, where, here = np.unique(token_ids, return_inverse=True, return_counts=True)
    total, length = np.maximum(counts.sum(), 1), np.maximum(len(token_ids), 1)
    return _weights(log2_eighths([here, total], [np.maximum(counts[tokens], 1), length]))[where]


def ngram_starts(token_ids: np.ndarray, keys: np.ndarray, max_ngram: int) -> np.ndarray:
    """Where n-grams begin: [tokens] uint8. `keys` are the correlated pairs, ascending."""
    if not len(token_ids):
        return np.zeros(0, np.uint8)
    pairs = pair_keys(token_ids)
    found = np.searchsorted(keys, pairs)
    goes_on = np.zeros(len(token_ids), bool)
    goes_on[1:] = keys[np.minimum(found, len(keys) - 1)] == pairs if len(keys) else False
    first = np.maximum.accumulate(np.where(goes_on, 0, np.arange(len(token_ids))))
    return ((np.arange(len(token_ids)) - first) % max_ngram == 0).astype(np.uint8)  # a long chain is cut


def _with_idf(table: np.ndarray, documents: Iterable[TokenizedDocument]) -> Iterator[TokenizedDocument]:
    for document in documents:
        yield replace(document, columns={**document.columns, "weight": table[document.token_ids]})


def _chunk_with_idf(table: np.ndarray, chunk: Chunk) -> Chunk:
    return replace(chunk, columns={**chunk.columns, "weight": table[chunk.tokens]})


def _with_pmi(
    config: Config, counts: np.ndarray, keys: np.ndarray, documents: Iterable[TokenizedDocument]
) -> Iterator[TokenizedDocument]:
    for document in documents:
        ids = document.token_ids
        added = {"weight": pmi_weights(ids, counts), "ngrams": ngram_starts(ids, keys, config.max_ngram)}
        yield replace(document, columns={**document.columns, **added})


def _best(config: Config, pairs: Counts, counts: np.ndarray) -> Counts:
    """The pairs that are correlated, or would be if there were no others; sorted by key."""
    keys, pair_counts = (part[pairs[1] >= config.min_count] for part in pairs)
    if not len(keys):
        return keys, pair_counts
    first, second = pair_tokens(keys)
    pmi = log2_eighths([pair_counts, np.maximum(counts.sum(), 1)], [counts[first], counts[second]])
    order = np.lexsort((second, first, -pmi))[: config.max_pairs]
    kept = np.sort(order[pmi[order] > 0])
    return keys[kept], pair_counts[kept]


def _weights(eighths: np.ndarray) -> np.ndarray:
    return np.clip(eighths + 1, 1, _HIGHEST).astype(np.uint8)


def _sum(folders: Iterable[Path], name: str) -> np.ndarray:
    return sum((np.load(folder / name, allow_pickle=False) for folder in folders), start=np.zeros((), np.int64))


def _save_pairs(folder: Path, pairs: Counts) -> None:
    for name, array in zip((KEYS_NAME, COUNTS_NAME), pairs, strict=True):
        np.save(folder / name, array, allow_pickle=False)
