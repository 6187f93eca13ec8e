"""Open a dataset for reading: memory-mapped, verified at first touch, with a bounded number of shards open at a time.

Invariant: opening reads the manifest only (and looks whether the files it lists are there); an index is read when a
shard is first used, a member when it is first touched. So a dataset of any size opens at once.

Objects here hold a folder and a manifest; open maps are not part of their state, so that loader workers may receive a
copy by any start method and open their own.
"""

from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from data_prep.errors import CorruptionError, InputError
from data_prep.shards.audit import audit_tokenizer, misplaced_files, read_manifest, unlisted_files
from data_prep.shards.cache import BoundedCache
from data_prep.shards.chunk import Chunk, TokenizedDocument
from data_prep.shards.columns import SETTINGS, stored_names
from data_prep.shards.manifest import Manifest, ShardEntry
from data_prep.shards.mapped import MappedShard
from data_prep.shards.packing import Packing, Windows, plan_key, plan_windows

MAX_OPEN_SHARDS = 128


class Dataset:
    """A prepared dataset: a folder with `manifest.json`, a tokenizer and shards."""

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self.folder, self.manifest = folder, manifest

    @classmethod
    def open(cls, folder: Path | str) -> "Dataset":
        """The dataset in `folder`. InputError: there is none. CorruptionError: a file is missing, short or extra."""
        folder = Path(folder)
        manifest = read_manifest(folder)
        for problem in (*misplaced_files(folder, manifest), *unlisted_files(folder, manifest)):
            raise CorruptionError(f"{problem}; prepare the dataset again")
        return cls(folder, manifest)

    @property
    def fingerprint(self) -> str:
        """The content fingerprint: equal for equal data, wherever it lies and however it was made."""
        return self.manifest.fingerprint

    @cached_property
    def tokenizer_folder(self) -> Path:
        """The tokenizer's folder, its files verified."""
        for problem in audit_tokenizer(self.folder, self.manifest):
            raise CorruptionError(f"{problem}; prepare the dataset again")
        return self.folder / self.manifest.tokenizer.path

    def require_columns(self, names: Iterable[str], config: str = "CONFIG") -> None:
        """InputError naming the first of `names` that the dataset lacks, and the command that makes it."""
        for name in names:
            if name not in self.manifest.columns:
                raise InputError(
                    f"{self.folder}: the dataset has no column {name!r}; make it with: "
                    f"spanwright prep {config} {SETTINGS.get(name, f'data.columns.{name}=...')}"
                )

    def split(self, name: str, max_open_shards: int = MAX_OPEN_SHARDS) -> "Split":
        """The shards of one split ("train", "heldout")."""
        if name not in self.manifest.splits:
            raise InputError(f"{self.folder}: no split {name!r}; it has {', '.join(self.manifest.splits)}")
        return Split(self.folder, self.manifest, name, max_open_shards)


class MappedChunk:
    """One chunk of a split. Attributes verify their member at first touch; arrays are read-only views of the file."""

    def __init__(self, shard: MappedShard, number: int) -> None:
        self._shard, self._number = shard, number

    @property
    def tokens(self) -> np.ndarray:
        """Token ids of all documents: [tokens] uint16 or uint32."""
        return self._shard.tokens(self._number)

    @property
    def docs(self) -> np.ndarray:
        """Document offsets: [documents + 1] int64."""
        return self._shard.docs(self._number)

    @property
    def ids(self) -> list[str]:
        """Document ids."""
        return self._shard.ids(self._number)

    def column(self, name: str) -> np.ndarray:
        """A column, [tokens], [documents] or [spans, 3]; KeyError when the dataset has none of that name."""
        return self._shard.column(self._number, name)

    def span_offsets(self, name: str) -> np.ndarray:
        """Where each document's spans begin in a column of spans: [documents + 1] int64."""
        return self._shard.span_offsets(self._number, name)

    def whole(self) -> Chunk:
        """Everything at once."""
        names = stored_names(self._shard.columns)
        return Chunk(self.tokens, self.docs, self.ids, {name: self._shard.column(self._number, name) for name in names})

    def documents(self) -> Iterator[TokenizedDocument]:
        """The documents in order, each with its part of every column."""
        return self.whole().documents(self._shard.columns)


class Split:
    """The shards of one split in order. Chunks are numbered through all of them, from 0."""

    def __init__(self, folder: Path, manifest: Manifest, name: str, max_open_shards: int) -> None:
        self.folder, self.name, self.manifest = folder, name, manifest
        self.shards: list[ShardEntry] = manifest.splits[name]
        self.max_open_shards = max_open_shards
        self._open: BoundedCache[int, MappedShard] = BoundedCache(max_open_shards)
        self._first_chunks = np.cumsum([0, *(entry.chunks for entry in self.shards)], dtype=np.int64)

    def __reduce__(self) -> tuple[Any, ...]:
        return Split, (self.folder, self.manifest, self.name, self.max_open_shards)

    @property
    def fingerprint(self) -> str:
        """The content fingerprint of the dataset this split belongs to."""
        return self.manifest.fingerprint

    @property
    def num_shards(self) -> int:
        """Shards in this split."""
        return len(self.shards)

    @property
    def num_chunks(self) -> int:
        """Chunks in all shards of this split."""
        return int(self._first_chunks[-1])

    @property
    def chunk_shards(self) -> np.ndarray:
        """The shard each chunk lies in: [chunks] int64."""
        return np.repeat(np.arange(self.num_shards), np.diff(self._first_chunks))

    @cached_property
    def chunk_tokens(self) -> np.ndarray:
        """Tokens of each chunk: [chunks] int64 (reads every index)."""
        indexes = (self._shard(shard).index for shard in range(self.num_shards))
        return np.array([chunk.tokens for index in indexes for chunk in index.chunks], np.int64)

    def first_chunk(self, shard: int) -> int:
        """The number of the shard's first chunk."""
        return int(self._first_chunks[shard])

    def chunk(self, number: int) -> MappedChunk:
        """Chunk `number` of the split."""
        shard, local = self._locate(number)
        return MappedChunk(self._shard(shard), local)

    def document_ids(self, number: int) -> list[str]:
        """Ids of the documents of chunk `number`."""
        return self.chunk(number).ids

    def plan(self, number: int, window: int, packing: Packing, max_pieces: int) -> Windows:
        """The windows of chunk `number`; CorruptionError when the index counts them differently."""
        shard, local = self._locate(number)
        mapped = self._shard(shard)
        plan = plan_windows(mapped.docs(local), window, packing, max_pieces)
        key = plan_key(packing, window, max_pieces)
        stored = mapped.index.chunks[local].windows.get(key)
        if stored not in (None, len(plan)):
            raise CorruptionError(
                f"{self.folder}: shard {mapped.entry.name}, chunk {local}: {len(plan)} windows of {key} where its "
                f"index says {stored}; prepare the dataset again"
            )
        return plan

    def shard_window_counts(self, window: int, packing: Packing, max_pieces: int) -> np.ndarray:
        """Windows of each shard: [shards] int64. From the manifest, or planned (reads all offsets)."""
        key = plan_key(packing, window, max_pieces)
        counts = [
            entry.windows[key] if key in entry.windows else self._plan_counts(shard, window, packing, max_pieces).sum()
            for shard, entry in enumerate(self.shards)
        ]
        return np.array(counts, np.int64)

    def chunk_window_counts(self, shard: int, window: int, packing: Packing, max_pieces: int) -> np.ndarray:
        """Windows of each chunk of one shard: [chunks of the shard] int64."""
        key = plan_key(packing, window, max_pieces)
        index = self._shard(shard).index
        if key in index.windows:
            return np.array([chunk.windows[key] for chunk in index.chunks], np.int64)
        return self._plan_counts(shard, window, packing, max_pieces)

    def window_counts(self, window: int, packing: Packing, max_pieces: int) -> np.ndarray:
        """Windows of each chunk of the split: [chunks] int64 (reads every index)."""
        counts = [self.chunk_window_counts(shard, window, packing, max_pieces) for shard in range(self.num_shards)]
        return np.concatenate([np.zeros(0, np.int64), *counts])

    def _plan_counts(self, shard: int, window: int, packing: Packing, max_pieces: int) -> np.ndarray:
        numbers = range(self.first_chunk(shard), self.first_chunk(shard + 1))
        return np.array([len(self.plan(number, window, packing, max_pieces)) for number in numbers], np.int64)

    def _shard(self, shard: int) -> MappedShard:
        return self._open.get(shard, lambda: MappedShard(self.folder, self.shards[shard], self.manifest))

    def _locate(self, number: int) -> tuple[int, int]:
        """The shard of a chunk, and its number in that shard."""
        if not 0 <= number < self.num_chunks:
            raise IndexError(f"chunk {number} of {self.num_chunks}")
        shard = int(np.searchsorted(self._first_chunks, number, side="right")) - 1
        return shard, number - int(self._first_chunks[shard])
