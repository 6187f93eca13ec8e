"""Which tokens of a chunk go into which window. Pure: the same offsets always give the same plan.

A *piece* is a run of tokens of one document; a *window* holds at most `max_pieces` pieces and at most `window` tokens.

- `document`: every document is cut into pieces of `window` tokens (the last one shorter), and pieces are put whole into
  windows: longest first, each into the window with the least room that still takes it, else into a new one. Windows are
  then ordered by their first token, pieces inside a window likewise.
- `concat`: the chunk is one stream, cut every `window` tokens. The part of each document inside a window is a piece
  of its own; where a window already has `max_pieces` pieces, the next piece starts a new window.

Invariant: every token of the chunk lies in exactly one piece; no window is empty; documents without tokens have no
piece. Plans are part of the shard format (`docs/shard-format.md`): the index stores their window counts, so any
change of a plan is a new format version.

Source: best-fit decreasing as "longest-pack-first" in Krell et al. 2021, "Efficient Sequence Packing without
Cross-contamination".
"""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

Packing = Literal["document", "concat"]
PACKINGS: tuple[Packing, ...] = get_args(Packing)
DEFAULT_MAX_PIECES = 8


@dataclass(frozen=True)
class Windows:
    """The plan of one chunk. Piece i is tokens `piece_starts[i]:piece_stops[i]` of the chunk; window w holds the pieces
    `window_offsets[w]:window_offsets[w + 1]`.
    """

    piece_starts: np.ndarray  # [P] int32
    piece_stops: np.ndarray  # [P] int32
    window_offsets: np.ndarray  # [W + 1] int32

    def __len__(self) -> int:
        return len(self.window_offsets) - 1

    @property
    def num_bytes(self) -> int:
        """Memory this plan takes."""
        return self.piece_starts.nbytes + self.piece_stops.nbytes + self.window_offsets.nbytes

    def fill(self, window: int) -> float:
        """The share of the windows' room that tokens take (1.0 = no room is wasted)."""
        room = len(self) * window
        return float((self.piece_stops - self.piece_starts).sum() / room) if room else 1.0


def plan_key(packing: str, window: int, max_pieces: int) -> str:
    """The name under which an index keeps the window count of one plan, as `document/568/8`."""
    return f"{packing}/{window}/{max_pieces}"


def plan_windows(docs_offsets: np.ndarray, window: int, packing: Packing, max_pieces: int) -> Windows:
    """The windows of a chunk whose document d is `docs_offsets[d]:docs_offsets[d + 1]` ([documents + 1] int64)."""
    if window < 1 or max_pieces < 1:
        raise ValueError(f"window ({window}) and max_pieces ({max_pieces}) must be at least 1")
    boundaries = np.unique(docs_offsets)  # documents without tokens vanish
    if len(boundaries) == 1:
        empty = np.zeros(0, np.int32)
        return Windows(empty, empty, np.zeros(1, np.int32))
    if packing == "document":
        return _plan_document(boundaries, window, max_pieces)
    if packing == "concat":
        return _plan_concat(boundaries, window, max_pieces)
    raise ValueError(f"unknown packing {packing!r} (one of {', '.join(PACKINGS)})")


def _plan_document(boundaries: np.ndarray, window: int, max_pieces: int) -> Windows:
    starts, stops = _cut_documents(boundaries, window)
    order = np.argsort(starts - stops, kind="stable")  # longest first, ties in the order of the chunk
    bins = np.empty(len(starts), np.int64)
    bins[order] = _best_fit((stops - starts)[order], window, max_pieces)
    # Windows take the order of their first piece: the first appearance of a bin's number in the order of the chunk.
    numbers, first_piece, bin_of_piece = np.unique(bins, return_index=True, return_inverse=True)
    rank = np.empty(len(numbers), np.int64)
    rank[np.argsort(first_piece)] = np.arange(len(numbers))
    window_of_piece = rank[bin_of_piece]
    by_window = np.argsort(window_of_piece, kind="stable")
    offsets = np.concatenate([[0], np.cumsum(np.bincount(window_of_piece))])
    return Windows(starts[by_window].astype(np.int32), stops[by_window].astype(np.int32), offsets.astype(np.int32))


def _cut_documents(boundaries: np.ndarray, window: int) -> tuple[np.ndarray, np.ndarray]:
    """Starts and stops [P] int64 of pieces of at most `window` tokens."""
    lengths = np.diff(boundaries)
    pieces = -(-lengths // window)
    first = np.cumsum(pieces) - pieces
    rank = np.arange(pieces.sum()) - np.repeat(first, pieces)
    starts = np.repeat(boundaries[:-1], pieces) + rank * window
    return starts, np.minimum(starts + window, np.repeat(boundaries[1:], pieces))


def _best_fit(lengths: np.ndarray, window: int, max_pieces: int) -> np.ndarray:
    """The bin [P] int64 of each piece; `lengths` descend. `rooms` has bit r set while `open_bins[r]` is not empty."""
    num_full = int(np.searchsorted(-lengths, -window, side="right"))  # pieces that are a window of their own
    bins = list(range(num_full))
    num_bins = num_full
    open_bins: list[list[tuple[int, int]]] = [[] for _ in range(window)]  # by room: (bin, pieces in it)
    rooms = 0
    for length in lengths[num_full:].tolist():
        fitting = rooms >> length
        if fitting:
            room = length + (fitting & -fitting).bit_length() - 1
            number, pieces = open_bins[room].pop()
            if not open_bins[room]:
                rooms ^= 1 << room
        else:
            room, number, pieces = window, num_bins, 0
            num_bins += 1
        bins.append(number)
        if pieces + 1 < max_pieces and room > length:
            open_bins[room - length].append((number, pieces + 1))
            rooms |= 1 << (room - length)
    return np.array(bins, np.int64)


def _plan_concat(boundaries: np.ndarray, window: int, max_pieces: int) -> Windows:
    cuts = np.append(np.arange(0, boundaries[-1], window), boundaries[-1])
    inside = np.searchsorted(boundaries, cuts[1:], side="left") - np.searchsorted(boundaries, cuts[:-1], side="right")
    if inside.max() >= max_pieces:  # else every window is full
        cuts = np.array(_cuts_of_few_pieces(boundaries.tolist(), window, max_pieces))
    points = np.union1d(boundaries, cuts)
    offsets = np.searchsorted(points, cuts)
    return Windows(points[:-1].astype(np.int32), points[1:].astype(np.int32), offsets.astype(np.int32))


def _cuts_of_few_pieces(edges: list[int], window: int, max_pieces: int) -> list[int]:
    """Where windows of at most `max_pieces` pieces start, then the end of the chunk."""
    cuts, document = [0], 0  # edges[document] <= cuts[-1] < edges[document + 1]
    while cuts[-1] < edges[-1]:
        stop = min(cuts[-1] + window, edges[min(document + max_pieces, len(edges) - 1)])
        while edges[document + 1] <= stop and document + 2 < len(edges):
            document += 1
        cuts.append(stop)
    return cuts
