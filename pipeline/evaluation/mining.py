"""Bitext mining: which sentence of one side translates which of the other, by their vectors alone.

Margins (Artetxe and Schwenk 2019, "Margin-based Parallel Corpus Mining", section 3, ratio): the cosine over the mean
cosine of both with their k nearest neighbours, which tells a good match from a text that is near to everything.

Shape suffixes: N texts of the first side, M of the second.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

NEIGHBOURS = 4
FloatArray = npt.NDArray[np.floating]


class Mined(NamedTuple):
    """How many of the pairs that are proposed are right, how many of the right ones are proposed, and both."""

    precision: float
    recall: float
    f1: float
    threshold: float


def margins(cosines_NM: FloatArray, neighbours: int = NEIGHBOURS) -> FloatArray:
    """[N, M] ratio margins."""
    k = min(neighbours, *cosines_NM.shape)
    forward_N1 = np.sort(cosines_NM, 1)[:, -k:].mean(1, keepdims=True)
    backward_1M = np.sort(cosines_NM, 0)[-k:].mean(0, keepdims=True)
    middle = (forward_N1 + backward_1M) / 2
    return cosines_NM / np.where(np.abs(middle) > 1e-12, middle, 1e-12)


def mine(margins_NM: FloatArray, num_pairs: int) -> Mined:
    """The best F1 of any threshold, where text i of one side belongs to text i of the other, for i < `num_pairs`.

    Proposed are the pairs in which each is the other's best ("max" retrieval, section 3). The threshold is chosen on
    the same pairs: an upper bound, as in BUCC without a development set.
    """
    best_N, best_M = margins_NM.argmax(1), margins_NM.argmax(0)
    mutual = np.flatnonzero(best_M[best_N] == np.arange(len(best_N)))
    scores = margins_NM[mutual, best_N[mutual]]
    order = np.argsort(-scores, kind="stable")
    right = (mutual == best_N[mutual])[order] & (mutual[order] < num_pairs)
    found = np.cumsum(right)
    precision, recall = found / np.arange(1, len(found) + 1), found / num_pairs
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
    place = int(f1.argmax())
    return Mined(float(precision[place]), float(recall[place]), float(f1[place]), float(scores[order][place]))
