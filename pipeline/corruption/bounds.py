"""How many rows a whole window can have in a view, from how many each of its pieces can have. Tight, not estimated.

The worst window is a knapsack: at most `max_pieces` pieces whose lengths add up to at most `window`, rows added up. It
is solved exactly by max-plus products of the per-piece table, doubling the number of pieces.
"""

import numpy as np

from pipeline.corruption.sampling import Int64Array


def most_rows(piece_rows: Int64Array, max_pieces: int) -> int:
    """The most rows of a window of len(piece_rows) - 1 tokens in at most `max_pieces` pieces.

    `piece_rows` [window + 1] int64 holds the rows of one piece by its length, 0 for a piece of no tokens.
    """
    assert piece_rows[0] == 0, "a piece without tokens has no rows"
    best = np.zeros_like(piece_rows)  # best[n]: most rows of at most n tokens, in the pieces taken so far
    power = np.maximum.accumulate(piece_rows)
    remaining = min(max_pieces, len(piece_rows) - 1)
    while remaining:
        if remaining & 1:
            best = _max_plus(best, power)
        remaining >>= 1
        if remaining:
            power = _max_plus(power, power)
    return int(best[-1])


def _max_plus(left: Int64Array, right: Int64Array) -> Int64Array:
    """For each n: the largest left[i] + right[n - i] over i in 0..n."""
    result = left + right[0]
    for taken in range(1, len(right)):
        np.maximum(result[taken:], left[: len(left) - taken] + right[taken], out=result[taken:])
    return result
