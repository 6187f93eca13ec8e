"""MinHash signatures, and which numbers of bands, rows and equal lanes a similarity threshold asks for.

A signature has 256 lanes of one byte. Two texts agree in a lane with probability J + (1 - J)/256, where J is the
Jaccard similarity of their sets of shingles. The lanes come from rensa's full-set R-MinHash (Fast Similarity
Sketching, Dahlgaard, Knudsen, Thorup 2017): integers only, the same on every processor.

1. `Lsh.of(threshold)` takes the widest bands that still bring a pair at the threshold together with probability 0.995.
2. Such a pair is a duplicate if its signatures agree in at least `min_matches` lanes: two standard deviations below
   what is expected at the threshold, so that a pair exactly there is found with probability >= 0.97 in all.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import rensa

from data_prep.stages.duplicates.shingles import shingle_hashes

LANES = 256
ALGORITHM_VERSION = rensa.RMinHash.ALGORITHM_VERSION  # raised by rensa when signatures change

_SEED = 1
_BAND_RECALL = 0.995
_DEVIATIONS = 2.0
_KEY_BYTES = 8
_ODD = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True)
class Lsh:
    """`bands` groups of `rows` lanes; texts that agree in a whole band are compared, lane by lane."""

    bands: int
    rows: int
    min_matches: int

    @classmethod
    def of(cls, threshold: float) -> "Lsh":
        """What finds pairs of Jaccard similarity >= `threshold` (see above)."""
        equal = threshold + (1 - threshold) / 256
        rows = max(rows for rows in range(1, _KEY_BYTES + 1) if rows == 1 or _band_recall(equal, rows) >= _BAND_RECALL)
        expected, deviation = LANES * equal, math.sqrt(LANES * equal * (1 - equal))
        return cls(LANES // rows, rows, math.ceil(expected - _DEVIATIONS * deviation))

    def band_keys(self, band: int, signatures: np.ndarray, rows: slice | np.ndarray) -> np.ndarray:
        """The band's lanes of `rows` of signatures [n, LANES] as numbers of 64 bits, spread over their range."""
        lanes = signatures[rows, band * self.rows : (band + 1) * self.rows]
        keys = np.zeros((len(lanes), _KEY_BYTES), np.uint8)
        keys[:, : self.rows] = lanes
        return keys.view("<u8")[:, 0] * _ODD


def signatures(texts: Sequence[str], ngram: int) -> np.ndarray:
    """The signatures [texts, LANES] (uint8) of texts by their shingles of `ngram` words."""
    hashes, offsets = shingle_hashes(texts, ngram)
    matrix = rensa.RMinHash.digest_matrix_from_flat_token_hashes(hashes, offsets, LANES, _SEED)
    lanes = np.array(matrix.to_rows(), np.uint32).reshape(len(texts), LANES)
    return ((lanes * np.uint32(0x9E3779B1)) >> np.uint32(24)).astype(np.uint8)


def _band_recall(equal: float, rows: int) -> float:
    return 1 - (1 - equal**rows) ** (LANES // rows)
