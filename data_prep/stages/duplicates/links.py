"""Which documents are copies of which, and which are partners: the first reduction, one range of keys per part.

Invariant: all parts' links together connect the same documents whatever the number of parts and units.

1. For every column a part reads its range of keys; documents with equal keys form a bucket, in corpus order.
2. Exact: equal digests are linked. Partners: equal pairs are linked, in a list of their own.
3. Near: each document is compared with the next `REACH` of its bucket, lane by lane, unless they are connected
   already; so a bucket of millions costs no more per document than a small one.
4. What is linked is kept as a forest: (document, first document of its tree), 16 bytes per linked document.

Memory: 40 bytes per key of one column in the part's range, 64 MiB for comparing, 16 bytes per linked document.
"""

from typing import Any

import numpy as np

from data_prep.stages.duplicates.components import NO_LINKS, stars
from data_prep.stages.duplicates.minhash import Lsh
from data_prep.stages.duplicates.observed import Column, Corpus, columns
from data_prep.stages.stage import Part

REACH = 32
_BLOCK = 2**16  # documents whose signatures are in memory at once


def link(exact: bool, lsh: Lsh | None, part: Part) -> dict[str, Any]:
    """Write `links.npy` and `partners.npy`, both [m, 2] int64."""
    corpus = Corpus(part.observed)
    found = {"links": NO_LINKS, "partners": NO_LINKS}
    bounds = [2**64 * number // part.count for number in (part.number, part.number + 1)]
    for number, column in enumerate(columns(exact, lsh)):
        keys, documents = corpus.key_range(number, column, bounds[0], bounds[1])
        into = "partners" if column.kind == "partner" else "links"
        edges = _edges(corpus, column, keys, documents, lsh)
        if len(edges):
            found[into] = stars(np.concatenate([found[into], edges]))
    for name, forest in found.items():
        np.save(part.out / f"{name}.npy", forest)
    return {name: len(forest) for name, forest in found.items()}


def _edges(corpus: Corpus, column: Column, keys: np.ndarray, documents: np.ndarray, lsh: Lsh | None) -> np.ndarray:
    if column.kind == "partner":
        keys, documents = keys[keys != 0], documents[keys != 0]
    shared = _in_bucket(keys)
    keys, documents = keys[shared], documents[shared]
    if column.kind == "partner":
        return _equal_neighbours(documents, keys)
    if column.kind == "exact":
        return _equal_digests(documents, corpus.gather(documents, "digests"))
    assert lsh is not None
    blocks = [NO_LINKS]
    for start in range(0, len(documents), _BLOCK):
        block = slice(start, start + _BLOCK + REACH)
        signatures = corpus.gather(documents[block], "signatures")
        blocks.append(_similar(keys[block], documents[block], signatures, lsh.min_matches))
    return np.concatenate(blocks)


def _in_bucket(keys: np.ndarray) -> np.ndarray:
    """Which of the sorted keys occur more than once."""
    shared = np.zeros(len(keys), bool)
    equal = keys[1:] == keys[:-1]
    shared[1:] |= equal
    shared[:-1] |= equal
    return shared


def _equal_neighbours(documents: np.ndarray, keys: np.ndarray) -> np.ndarray:
    equal = keys[1:] == keys[:-1]
    return np.stack([documents[1:][equal], documents[:-1][equal]], axis=1)


def _equal_digests(documents: np.ndarray, digests: np.ndarray) -> np.ndarray:
    order = np.lexsort((documents, digests[:, 1], digests[:, 0]))
    equal = (digests[order][1:] == digests[order][:-1]).all(axis=1)
    return np.stack([documents[order][1:][equal], documents[order][:-1][equal]], axis=1)


def _similar(keys: np.ndarray, documents: np.ndarray, signatures: np.ndarray, min_matches: int) -> np.ndarray:
    """Links between documents at most REACH apart in the same bucket whose signatures agree in enough lanes."""
    edges = [NO_LINKS]
    run = np.arange(len(keys))
    for distance in range(1, min(REACH, len(keys) - 1) + 1):
        bucket = keys[distance:] == keys[:-distance]
        if not bucket.any():
            break
        at = np.flatnonzero(bucket & (run[distance:] != run[:-distance]))
        at = at[_matches(signatures, at, at + distance) >= min_matches]
        edges.append(np.stack([documents[at + distance], documents[at]], axis=1))
        if distance == 1:  # chains of similar neighbours are connected: their members need no more comparisons
            linked = np.zeros(len(keys), bool)
            linked[at + 1] = True
            run = np.cumsum(~linked)
    return np.concatenate(edges)


def _matches(signatures: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    counts = [np.zeros(0, np.int64)]
    for start in range(0, len(first), _BLOCK):
        pairs = slice(start, start + _BLOCK)
        counts.append(np.count_nonzero(signatures[first[pairs]] == signatures[second[pairs]], axis=1))
    return np.concatenate(counts)
