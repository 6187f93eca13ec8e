"""Who stays: the third reduction, one range of blocks per part; and how a unit finds out what to drop.

Invariants: of every cluster at least one document stays; aligned documents are dropped together or not at all.

1. Of a cluster, the document with the smallest id stays. An aligned document comes before one that could be dropped
   alone, and goes by the name of its pair first, so that of two equal pairs the same one stays in every language.
   Equal ids are taken in corpus order.
2. The others are dropped, unless one of their partners stays.
3. `dropped.npy` lists them with their survivors, whose ids are stored beside it.

Memory: about 500 bytes per document of the part's blocks. On disk 17 bytes per dropped document and the survivors' ids.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np

from data_prep.stages.duplicates.observed import Corpus, Strings, Unit, read_strings
from data_prep.stages.stage import Decision, Part


def decide(exact: bool, part: Part) -> dict[str, Any]:
    """Write dropped.npy [d, 2] (document, row of its survivor's id), exact.npy [d], survivors, and starts.npy."""
    corpus = Corpus(part.observed)
    members = _blocks_of(np.load(part.inputs[0] / "members.npy", mmap_mode="r"), part)
    documents = members[:, 0]
    survivors = _survivors(corpus, documents, members[:, 1])
    dropped = _without_partners_of_kept(corpus, documents, survivors)
    documents, survivors = documents[dropped], survivors[dropped]
    order = np.argsort(documents)
    documents, survivors = documents[order], survivors[order]
    same = exact & _same_digest(corpus, documents, survivors)
    named, rows = np.unique(survivors, return_inverse=True)
    Strings(corpus.gather_strings(named, "ids")).save(part.out, "survivors")
    np.save(part.out / "dropped.npy", np.stack([documents, rows], axis=1))
    np.save(part.out / "exact.npy", same)
    np.save(part.out / "starts.npy", corpus.starts)
    return {"exact_duplicates": int(same.sum()), "near_duplicates": int((~same).sum())}


def dropped_in(decision: Decision) -> dict[int, tuple[bool, str]]:
    """For documents to be dropped, by their place in the unit: whether the text is the same, the survivor's id."""
    found: dict[int, tuple[bool, str]] = {}
    for folder in decision.folders:
        answer = Unit(folder)
        start, stop = answer.array("starts")[decision.unit : decision.unit + 2]
        dropped = answer.array("dropped")
        rows = slice(*np.searchsorted(dropped[:, 0], [start, stop]))
        names = read_strings(answer, "survivors", dropped[rows, 1])
        places, same = dropped[rows, 0] - start, answer.array("exact")[rows]
        found |= zip(places.tolist(), zip(same.tolist(), names, strict=True), strict=True)
    return found


def _blocks_of(members: np.ndarray, part: Part) -> np.ndarray:
    """The part's share of the members, cut between blocks."""
    blocks = members[:, 2]
    cuts = [len(members) * number // part.count for number in (part.number, part.number + 1)]
    first, last = (int(np.searchsorted(blocks, blocks[cut])) if cut < len(blocks) else cut for cut in cuts)
    return np.array(members[first:last])


def _survivors(corpus: Corpus, documents: np.ndarray, clusters: np.ndarray) -> np.ndarray:
    """The document that stays, for each."""
    best: dict[int, tuple[bool, str, str, int]] = {}
    for cluster, rank in zip(clusters.tolist(), _ranks(corpus, documents), strict=True):
        best[cluster] = min(best.get(cluster, rank), rank)
    return np.array([best[cluster][-1] for cluster in clusters.tolist()], np.int64)


def _ranks(corpus: Corpus, documents: np.ndarray) -> Iterable[tuple[bool, str, str, int]]:
    ids, pairs = (corpus.gather_strings(documents, name) for name in ("ids", "pairs"))
    return ((not pair, pair, id, number) for pair, id, number in zip(pairs, ids, documents.tolist(), strict=True))


def _without_partners_of_kept(corpus: Corpus, documents: np.ndarray, survivors: np.ndarray) -> np.ndarray:
    """Which documents are dropped [m]."""
    dropped = documents != survivors
    if not dropped.any():
        return dropped
    partners = corpus.gather(documents, "partners")
    return dropped & ((partners == 0) | ~np.isin(partners, partners[~dropped]))


def _same_digest(corpus: Corpus, documents: np.ndarray, survivors: np.ndarray) -> np.ndarray:
    return (corpus.gather(documents, "digests") == corpus.gather(survivors, "digests")).all(axis=1)
