"""One sample of a stream: a window of raw tokens, and which documents its pieces are."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from data_prep.shards.reader import Split


class Piece(NamedTuple):
    """A piece of a sample is the tokens `start:stop` of the document `document_id`."""

    document_id: str
    start: int
    stop: int


@dataclass(frozen=True, eq=False)
class Sample:
    """One window: its pieces one after another. Piece i is `tokens[piece_offsets[i]:piece_offsets[i + 1]]`."""

    position: int
    epoch: int
    shard: int
    chunk: int
    window: int
    tokens: np.ndarray  # [n] of the shard's own type, uint16 or uint32
    piece_offsets: np.ndarray  # [pieces + 1] int64
    piece_starts: np.ndarray = field(repr=False)  # [pieces] int64, the first token of each piece within the chunk
    split: Split = field(repr=False)
    columns: Mapping[str, np.ndarray] = field(default_factory=dict, repr=False)  # [n] uint8 each, those asked for
    other: "Sample | None" = field(default=None, repr=False)  # a window of other documents, where asked for

    @property
    def document_numbers(self) -> list[int]:
        """Which document of its chunk each piece comes from."""
        docs = self.split.chunk(self.chunk).docs
        numbers: list[int] = (np.searchsorted(docs, self.piece_starts, side="right") - 1).tolist()
        return numbers

    @property
    def documents(self) -> list[Piece]:
        """Where each piece comes from (reads the document ids of its chunk)."""
        docs, ids = self.split.chunk(self.chunk).docs, self.split.document_ids(self.chunk)
        numbers = np.array(self.document_numbers)
        starts = self.piece_starts - docs[numbers]
        stops = starts + np.diff(self.piece_offsets)
        return [
            Piece(ids[number], int(start), int(stop))
            for number, start, stop in zip(numbers, starts, stops, strict=True)
        ]
