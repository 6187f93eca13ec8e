"""Zero-shot retrieval: each query should find the one text that belongs to it among all texts.

Shape suffixes: Q queries, D documents (document i belongs to query i), W width.
"""

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.floating]
Ranks = npt.NDArray[np.int64]


def cosine_scores(queries_QW: FloatArray, documents_DW: FloatArray) -> FloatArray:
    """Cosine similarities [Q, D], computed in float64; a vector of zeros is like no other."""
    return _normalised(queries_QW) @ _normalised(documents_DW).T


def ranks(scores_QD: FloatArray) -> Ranks:
    """The place of each query's own document among all, [Q] from 1; of equal scores it counts as the last."""
    own_Q1 = np.diagonal(scores_QD)[:, None]
    return (scores_QD >= own_Q1).sum(1)


def reciprocal_ranks(ranks_Q: Ranks, cutoff: int = 10) -> FloatArray:
    """[Q] float64: 1 / rank, and 0 behind `cutoff`; the mean is MRR@cutoff."""
    return np.where(ranks_Q <= cutoff, 1.0 / ranks_Q, 0.0)


def discounted_gains(ranks_Q: Ranks, cutoff: int = 10) -> FloatArray:
    """[Q] float64: 1 / log2(1 + rank), and 0 behind `cutoff`; with one right document each, the mean is nDCG@cutoff."""
    return np.where(ranks_Q <= cutoff, 1.0 / np.log2(1.0 + ranks_Q), 0.0)


def found(ranks_Q: Ranks, cutoff: int) -> FloatArray:
    """[Q] float64: 1 where the document is among the first `cutoff`; the mean is recall@cutoff."""
    return (ranks_Q <= cutoff).astype(np.float64)


def _normalised(vectors: FloatArray) -> FloatArray:
    wide = vectors.astype(np.float64)
    lengths = np.linalg.norm(wide, axis=1, keepdims=True)
    return np.divide(wide, lengths, out=np.zeros_like(wide), where=lengths > 0)
