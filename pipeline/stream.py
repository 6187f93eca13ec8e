"""The order of the data: what sample p of a run is, as a pure function of p.

Invariant: a sample depends on the dataset's content, the stream's config, the seed, the stream's name and its
position, and on nothing else: not on where the dataset lies, how many ranks or workers read it, or what was read
before.

Position p lies in epoch p // W (W windows in an epoch). Inside an epoch,
1. the blocks (groups of `block_shards` consecutive shards) stand in a permuted order,
2. the windows of each block are permuted among themselves,
3. the window's number in its block gives the shard, the chunk, and the window of the chunk's plan
   (`data_prep.shards.packing`).

Both permutations are keyed by (seed, stream name, epoch, block): nothing is shuffled in memory, and seeking costs
what reading the next sample costs. Reading stays inside one block at a time, so a bounded number of shards is open.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal, NamedTuple

import numpy as np

from data_prep.errors import InputError
from data_prep.section import Positive, Section
from data_prep.shards.cache import BoundedCache
from data_prep.shards.packing import DEFAULT_MAX_PIECES, Packing, Windows
from data_prep.shards.reader import Split
from pipeline.block_reader import BlockReader, ChunkArrays, Samples, open_block
from pipeline.corruption.philox import Key, random_bits, stream_key
from pipeline.corruption.pieces import Pieces
from pipeline.kernels.reading.cpu import Shape
from pipeline.permutation import permute, permute_array
from pipeline.sample import Sample
from pipeline.token_columns import SPANS, WantedColumn, check_kinds, token_column

_PLAN_CACHE_BYTES = 256 << 20  # of 64 of the largest shards that preparation makes by itself, 130 MB
_COUNT_CACHE_SHARDS = 4096
_COLUMN_CACHE_BYTES = 32 << 20
_OTHER_DRAWS = 10


class StreamConfig(Section):
    """How documents become windows, and how far apart in the dataset neighbouring samples may lie."""

    window: Positive = 568
    packing: Packing = "document"
    max_pieces: Positive = DEFAULT_MAX_PIECES
    block_shards: Positive = 64
    spans_per_piece: Literal[1, 2] = 1  # 2: each piece of a document becomes two sequences, for contrast between spans

    @property
    def max_sequences(self) -> int:
        """The most sequences of a sample."""
        return self.max_pieces * self.spans_per_piece

    def cut(self, starts: list[int], stops: list[int]) -> tuple[list[int], list[int]]:
        """Where the sequences of these pieces start and stop: the pieces, or each one's first half and its rest."""
        if self.spans_per_piece == 1:
            return starts, stops
        middles = [(start + stop) // 2 for start, stop in zip(starts, stops, strict=True)]
        return _alternating(starts, middles), _alternating(middles, stops)


class Location(NamedTuple):
    """Where a position points: `chunk` is numbered through the split, `window` inside the chunk."""

    epoch: int
    shard: int
    chunk: int
    window: int


class Block(NamedTuple):
    """A block in the order of an epoch: `size` windows from position `first` on, permuted by `key` if there is one."""

    epoch: int
    number: int
    first: int
    size: int
    key: Key | None


class Stream:
    """The samples of a split in the order of a run. May be sent to loader workers by any start method."""

    def __init__(
        self, split: Split, config: StreamConfig, seed: int, name: str = "train", shuffle: bool = True,
        columns: Sequence[WantedColumn] = (), others: bool = False,
    ) -> None:  # fmt: skip
        """With `others` each sample has another one of its block beside it, of other documents."""
        self.split, self.config, self.seed, self.name, self.shuffle = split, config, seed, name, shuffle
        self._others = others
        self._columns = tuple(columns)
        for wanted in self._columns:
            check_kinds(split, wanted)
        per_shard = split.shard_window_counts(config.window, config.packing, config.max_pieces)
        self._shard_offsets = np.concatenate([[0], np.cumsum(per_shard)])
        self._block_edges = _block_edges(split.num_shards, config.block_shards)
        self._forget()
        if not len(self):
            raise InputError(f"{split.folder}: the split {split.name!r} holds no tokens; prepare a larger corpus")

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if not isinstance(value, BoundedCache)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._forget()

    def _forget(self) -> None:
        """Start with empty caches (what they hold can always be made again)."""
        self._block: Block | None = None
        self._readers: BoundedCache[Block, BlockReader | None] = BoundedCache(1)
        self._orders: BoundedCache[int, tuple[np.ndarray, np.ndarray]] = BoundedCache(2)
        self._chunk_offsets: BoundedCache[int, np.ndarray] = BoundedCache(_COUNT_CACHE_SHARDS)
        self._plans: BoundedCache[int, Windows] = BoundedCache(_PLAN_CACHE_BYTES, cost=lambda plan: plan.num_bytes)
        self._marks: BoundedCache[tuple[int, WantedColumn], np.ndarray] = BoundedCache(
            _COLUMN_CACHE_BYTES, cost=lambda marks: marks.nbytes
        )

    def __len__(self) -> int:
        """Samples in an epoch."""
        return int(self._shard_offsets[-1])

    @property
    def fingerprint(self) -> str:
        """A digest of everything the samples depend on but their position (resume compares it)."""
        content = {
            "dataset": self.split.fingerprint,
            "split": self.split.name,
            "config": self.config.model_dump(),
            "seed": self.seed,
            "name": self.name,
            "shuffle": self.shuffle,
        }
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    def sample(self, position: int) -> Sample:
        """The sample at `position` (samples consumed by the whole run before it, from 0; any epoch)."""
        own = self._window(position)
        return replace(own, other=self._other(own)) if self._others else own

    def samples(self, first: int, count: int) -> Samples:
        """The samples [first, first + count)."""
        return Samples(self, first, count)

    def text(self, first: int, count: int, position: int) -> Pieces | None:
        """The text of the samples [first, first + count), the run's from `position` on, with all columns of the stream.

        None where it has to be read a sample at a time (pipeline/block_reader.py).
        """
        block = self._block_of(first)
        if first + count > block.first + block.size:
            return None
        reader = self._readers.get(block, lambda: self._open(block))
        return None if reader is None else reader.gather(first - block.first, position, count)

    def _open(self, block: Block) -> BlockReader | None:
        config, shards = self.config, range(*self._block_edges[block.number : block.number + 2].tolist())
        if len(shards) > self.split.max_open_shards:
            return None
        shape = Shape(
            config.window, config.max_sequences, config.spans_per_piece == 2, self.split.manifest.dtype,
            tuple(wanted.name for wanted in self._columns),
        )  # fmt: skip
        counts = np.concatenate([np.diff(self._offsets_of(shard)) for shard in shards])
        first_chunk = self.split.first_chunk(shards.start)
        return open_block(
            counts, block.key, shape, lambda number: self._arrays(first_chunk + number), _PLAN_CACHE_BYTES
        )

    def _arrays(self, chunk: int) -> ChunkArrays:
        plan, columns = self._plan(chunk), [self._column(chunk, wanted) for wanted in self._columns]
        made = [marks.nbytes for marks, wanted in zip(columns, self._columns, strict=True) if wanted.name == SPANS]
        return ChunkArrays(self.split.chunk(chunk).tokens, plan, columns, plan.num_bytes + sum(made))

    def _other(self, own: Sample) -> Sample | None:
        """A drawn window of the block without a document of `own`; None if ten draws give none (as in BERT's code)."""
        block = self._block_of(own.position)
        key = stream_key(self.seed, f"{self.name}/others")
        for bits in random_bits(key, own.position, 0, np.arange(_OTHER_DRAWS)).tolist():
            step = 1 + (bits * (block.size - 1) >> 32)
            other = self._window(block.first + (own.position - block.first + step) % block.size)
            if other.chunk != own.chunk or not set(other.document_numbers) & set(own.document_numbers):
                return other
        return None

    def _window(self, position: int) -> Sample:
        location = self.locate(position)
        plan = self._plan(location.chunk)
        first, last = plan.window_offsets[location.window], plan.window_offsets[location.window + 1]
        starts, stops = self.config.cut(plan.piece_starts[first:last].tolist(), plan.piece_stops[first:last].tolist())
        tokens = self.split.chunk(location.chunk).tokens
        pieces = [tokens[start:stop] for start, stop in zip(starts, stops, strict=True)]
        return Sample(
            position=position,
            **location._asdict(),
            tokens=np.concatenate(pieces),
            piece_offsets=np.cumsum([0, *map(len, pieces)], dtype=np.int64),
            piece_starts=np.array(starts, np.int64),
            split=self.split,
            columns={
                wanted.name: _pieces(self._column(location.chunk, wanted), starts, stops) for wanted in self._columns
            },
        )

    def locate(self, position: int) -> Location:
        """Where the sample at `position` lies, without reading its tokens."""
        block = self._block_of(position)
        inner = position - block.first
        if block.key is not None:
            inner = permute(inner, block.size, block.key)
        window = inner + int(self._shard_offsets[self._block_edges[block.number]])
        shard = int(np.searchsorted(self._shard_offsets, window, side="right")) - 1
        chunk_offsets = self._offsets_of(shard)
        window -= int(self._shard_offsets[shard])
        chunk = int(np.searchsorted(chunk_offsets, window, side="right")) - 1
        return Location(block.epoch, shard, self.split.first_chunk(shard) + chunk, window - int(chunk_offsets[chunk]))

    def _block_of(self, position: int) -> Block:
        """The block that `position` lies in."""
        if position < 0:
            raise IndexError(f"position {position} is negative")
        block = self._block
        if block is None or not block.first <= position < block.first + block.size:
            epoch, rank = divmod(position, len(self))
            order, offsets = self._orders.get(epoch, lambda: self._block_order(epoch))
            slot = int(np.searchsorted(offsets, rank, side="right")) - 1
            number, first = int(order[slot]), int(offsets[slot])
            key = stream_key(self.seed, f"{self.name}/epoch {epoch}/block {number}") if self.shuffle else None
            block = Block(epoch, number, position - rank + first, int(offsets[slot + 1]) - first, key)
            self._block = block
        return block

    def _block_order(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """The blocks in the order of the epoch [blocks], and the rank at which each begins [blocks + 1]."""
        order = np.arange(len(self._block_edges) - 1)
        if self.shuffle:
            order = permute_array(order, len(order), stream_key(self.seed, f"{self.name}/epoch {epoch}/blocks"))
        sizes = np.diff(self._shard_offsets[self._block_edges])
        return order, np.concatenate([[0], np.cumsum(sizes[order])])

    def _offsets_of(self, shard: int) -> np.ndarray:
        """The first window of each chunk, counted inside the shard: [chunks + 1]."""
        return self._chunk_offsets.get(shard, lambda: self._count_windows(shard))

    def _count_windows(self, shard: int) -> np.ndarray:
        config = self.config
        counts = self.split.chunk_window_counts(shard, config.window, config.packing, config.max_pieces)
        return np.concatenate([[0], np.cumsum(counts)])

    def _column(self, chunk: int, wanted: WantedColumn) -> np.ndarray:
        """The column of a chunk; marks made from spans are kept, the others are maps of the file."""
        if wanted.name != SPANS:
            return token_column(self.split, chunk, wanted)
        return self._marks.get((chunk, wanted), lambda: token_column(self.split, chunk, wanted))

    def _plan(self, chunk: int) -> Windows:
        config = self.config
        return self._plans.get(chunk, lambda: self.split.plan(chunk, config.window, config.packing, config.max_pieces))


def _pieces(values: np.ndarray, starts: list[int], stops: list[int]) -> np.ndarray:
    return np.concatenate([values[start:stop] for start, stop in zip(starts, stops, strict=True)])


def _alternating(first: list[int], second: list[int]) -> list[int]:
    return [value for pair in zip(first, second, strict=True) for value in pair]


def _block_edges(num_shards: int, block_shards: int) -> np.ndarray:
    """The first shard of each block, then the number of shards: [blocks + 1]."""
    return np.append(np.arange(0, num_shards, block_shards), num_shards)
