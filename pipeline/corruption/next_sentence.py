"""What follows a cut is replaced by text of another document, where the coin says so (Devlin et al. 2019, section 3.1).

Invariant: what stands there is a function of (key, position, the sample's two windows) alone. A sample brings the other
window with it (pipeline/stream.py); where it has none, the coin is ignored and the pair stays as it is.

Of the other window one piece is drawn, and one of its sentence starts; from there on as many tokens are taken as the
cut leaves room for, or as the piece has. So no sequence grows, and static shapes stay.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from pipeline.corruption.philox import Key
from pipeline.corruption.pieces import Cuts, Pieces, SampleLike
from pipeline.corruption.reorder import SENTENCES
from pipeline.corruption.sampling import Int64Array, Purpose, in_range, offsets_of


def with_next(pieces: Pieces, cuts: Cuts, samples: Sequence[SampleLike], key: Key) -> Pieces:
    """`pieces` of `samples` with `cuts`; where they say so, other text stands after the cut."""
    changed = cuts.changed & np.array([samples[b].other is not None for b in pieces.samples.tolist()], np.bool_)
    columns = {"": pieces.tokens, **pieces.columns}  # the text itself is the column without a name
    parts: dict[str, list[np.ndarray]] = {name: [] for name in columns}
    bits_T, which_T = (pieces.bits(key, purpose) for purpose in (Purpose.SELECT, Purpose.ORDER))
    lengths = pieces.lengths.copy()
    for p, (start, stop) in enumerate(zip(pieces.offsets[:-1].tolist(), pieces.offsets[1:].tolist(), strict=True)):
        kept = start + int(cuts.before[p]) if changed[p] else stop
        for name, values in columns.items():
            parts[name].append(values[start:kept])
        if changed[p]:
            other = samples[int(pieces.samples[p])].other
            assert other is not None, "just looked"
            taken = _span(other, stop - kept, bits_T[start : start + 1], which_T[start : start + 1])
            for name in columns:
                parts[name].append((other.columns[name] if name else other.tokens)[taken])
            lengths[p] = kept - start + taken.stop - taken.start
    joined = {name: np.concatenate(values) if values else columns[name] for name, values in parts.items()}
    return _resized(pieces, lengths, joined, dataclasses.replace(cuts, changed=changed))


def _span(other: SampleLike, room: int, bits: np.ndarray, which: np.ndarray) -> slice:
    """Tokens of a drawn piece of `other` from a drawn sentence on, at least 1 and at most `room`."""
    sizes = np.diff(other.piece_offsets)
    piece = int(np.flatnonzero(sizes > 0)[int(in_range(bits, np.count_nonzero(sizes))[0])])
    start, stop = int(other.piece_offsets[piece]), int(other.piece_offsets[piece + 1])
    begins = other.columns[SENTENCES][start:stop] != 0
    begins[0] = True
    sentences = np.flatnonzero(begins)
    first = start + int(sentences[int(in_range(which, len(sentences))[0])])
    return slice(first, min(first + room, stop))


def _resized(pieces: Pieces, lengths: Int64Array, columns: dict[str, np.ndarray], cuts: Cuts) -> Pieces:
    offsets = offsets_of(lengths)
    bounds = np.searchsorted(pieces.samples, np.arange(len(pieces.positions) + 1))
    return dataclasses.replace(
        pieces,
        tokens=columns.pop(""),
        columns=columns,
        offsets=offsets,
        sample_offsets=offsets[bounds],
        cuts=cuts,
    )
