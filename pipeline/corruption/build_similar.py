"""Make the table of similar tokens from a dataset: tokens are alike when the same tokens stand beside them.

1. count     how often each frequent token stands right before, and right after, each token       (integers)
2. weigh     positive pointwise mutual information of token and neighbour (Levy and Goldberg 2014)
3. compare   the cosine of every two tokens, in steps of 1e-5, so that sums in another order give the same table
4. take      of each token the `num_similar` nearest, of equals the smaller id

A token seen fewer than `min_count` times has no neighbours to speak of: it gets the tokens with the nearest ids, which
in a trained vocabulary are about as frequent. Nothing is similar to a special token, and none is ever drawn.

Shape suffixes: V vocabulary, C contexts (a frequent token on one side), O ordinary tokens that were seen often.
"""

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from data_prep.shards.reader import Split
from pipeline.corruption.sampling import Int64Array
from pipeline.corruption.similar import SimilarTable

MOST_TOKENS = 50_000_000
_STEPS = 100_000  # of a cosine
_ROWS_AT_ONCE = 512

FloatArray = npt.NDArray[np.float32]


def build_similar(
    split: Split, ordinary: Int64Array, vocab_size: int, num_similar: int = 10, min_count: int = 5, frequent: int = 512
) -> SimilarTable:
    """The table [V, num_similar] int32 of the first MOST_TOKENS tokens of `split`; `ordinary` are those not special."""
    num_similar = min(num_similar, len(ordinary) - 1)
    counts_V, pairs_VC = count_neighbours(_documents(split), ordinary, vocab_size, frequent)
    table = nearest_ids(ordinary, vocab_size, num_similar)
    often = ordinary[counts_V[ordinary] >= min_count]
    if len(often) > num_similar:
        vectors_OC = _weighed(pairs_VC[often])
        for start in range(0, len(often), _ROWS_AT_ONCE):
            rows = slice(start, start + _ROWS_AT_ONCE)
            table[often[rows]] = often[_nearest(vectors_OC, rows, num_similar)]
    return table


def count_neighbours(
    documents: Iterable[npt.NDArray[np.integer]], ordinary: Int64Array, vocab_size: int, frequent: int
) -> tuple[Int64Array, Int64Array]:
    """How often each token occurs [V], and right after or before each frequent ordinary one: [V, 2 * frequent]."""
    texts = [np.asarray(tokens, np.int64) for tokens in documents]
    counts_V = np.zeros(vocab_size, np.int64)
    for tokens in texts:
        counts_V += np.bincount(tokens, minlength=vocab_size)
    contexts = ordinary[np.lexsort((ordinary, -counts_V[ordinary]))][:frequent]
    number_V = np.full(vocab_size, -1)
    number_V[contexts] = np.arange(len(contexts))
    pairs_VC = np.zeros((vocab_size, 2 * len(contexts)), np.int64)
    for tokens in texts:
        before, after = number_V[tokens[:-1]], number_V[tokens[1:]]
        np.add.at(pairs_VC, (tokens[1:][before >= 0], before[before >= 0]), 1)
        np.add.at(pairs_VC, (tokens[:-1][after >= 0], after[after >= 0] + len(contexts)), 1)
    return counts_V, pairs_VC


def nearest_ids(ordinary: Int64Array, vocab_size: int, num_similar: int) -> SimilarTable:
    """For each ordinary token the ordinary ones with the nearest ids but itself; for a special one itself."""
    table = np.repeat(np.arange(vocab_size, dtype=np.int32)[:, None], num_similar, axis=1)
    first = np.clip(np.arange(len(ordinary)) - num_similar // 2, 0, len(ordinary) - num_similar - 1)
    around = first[:, None] + np.arange(num_similar + 1)
    others = around[around != np.arange(len(ordinary))[:, None]].reshape(len(ordinary), num_similar)
    table[ordinary] = ordinary[others]
    return table


def _documents(split: Split) -> Iterable[npt.NDArray[np.integer]]:
    """Each chunk's tokens, until there are enough (where two documents meet, one pair of many is of neither)."""
    seen = 0
    for number in range(split.num_chunks):
        tokens = split.chunk(number).tokens
        yield tokens
        seen += len(tokens)
        if seen >= MOST_TOKENS:
            return


def _weighed(pairs_OC: Int64Array) -> FloatArray:
    """Positive pointwise mutual information, each row of length 1 (or 0), float32."""
    total = max(int(pairs_OC.sum()), 1)
    expected = pairs_OC.sum(1, keepdims=True) * (pairs_OC.sum(0, keepdims=True) / total)
    ratio = np.divide(pairs_OC, expected, out=np.ones_like(expected), where=pairs_OC > 0)
    weights = np.log(np.maximum(ratio, 1.0))
    norms = np.linalg.norm(weights, axis=1, keepdims=True)
    return (weights / np.where(norms > 0, norms, 1.0)).astype(np.float32)


def _nearest(vectors_OC: FloatArray, rows: slice, num_similar: int) -> Int64Array:
    """The nearest of each of these rows, by (cosine in steps, index): indices [rows, num_similar]."""
    steps = np.rint(vectors_OC[rows] @ vectors_OC.T * _STEPS).astype(np.int64)
    steps[np.arange(len(steps)), np.arange(rows.start, rows.start + len(steps))] = -_STEPS  # itself
    return np.lexsort((np.broadcast_to(np.arange(steps.shape[1]), steps.shape), -steps), axis=1)[:, :num_similar]
