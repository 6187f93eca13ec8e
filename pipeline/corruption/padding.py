"""The static shape of a view: B samples' sequences, padded to B * max_rows rows and B * max_pieces sequences."""

import numpy as np

from pipeline.batch import IGNORED_LABEL, Batch
from pipeline.corruption.layout import PieceRows
from pipeline.corruption.pieces import Pieces
from pipeline.corruption.sampling import indices_within, padded


def padded_view(rows: PieceRows, pieces: Pieces, pad: int, max_rows: int, max_pieces: int) -> Batch:
    """The view of which `rows` are the sequences, one for each of `pieces`; the rows after them are the tail."""
    num_samples, num_rows = len(pieces.positions), len(rows.tokens)
    size = num_samples * max_rows
    cu_seqlens = np.full(num_samples * max_pieces + 1, num_rows, np.int32)
    cu_seqlens[: len(rows.offsets)] = rows.offsets
    first_pieces = np.searchsorted(pieces.samples, np.arange(num_samples + 1))
    sample_offsets = rows.offsets[first_pieces]
    return Batch(
        tokens=padded(rows.tokens, size, pad),
        positions=padded(indices_within(rows.offsets) if rows.positions is None else rows.positions, size, 0),
        cu_seqlens=cu_seqlens,
        sample_rows=padded(indices_within(sample_offsets), size, 0),
        sample_positions=padded(np.repeat(pieces.positions, np.diff(sample_offsets)), size, -1, np.int64),
        labels=None if rows.labels is None else padded(rows.labels, size, IGNORED_LABEL),
        token_types=None if rows.token_types is None else padded(rows.token_types, size, 0),
    )
