"""One shard, memory-mapped. Every byte is verified the first time it is touched.

Invariant: no array leaves this file before its member's header, data and padding agreed with the index, and the index
with the manifest. What does not agree is a CorruptionError that names the file and the member.

1. The index is read and compared with its digest in the manifest.
2. The tar is opened (regular file, right size, empty trailer) and mapped.
3. A member is verified, parsed without evaluating anything, and checked against what the index says of its chunk.
"""

import mmap
import os
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

import numpy as np

from data_prep.errors import CorruptionError
from data_prep.shards import canonical, framing
from data_prep.shards.chunk import check_offsets, check_spans
from data_prep.shards.columns import Column, offsets_name, stored_names
from data_prep.shards.files import named_errors, open_regular, read_file
from data_prep.shards.manifest import (
    Index,
    Manifest,
    Member,
    ShardEntry,
    decode_index,
    member_suffixes,
)
from data_prep.shards.names import index_path, tar_path


class MappedShard:
    """The shard `entry` in `folder`. Nothing is opened before it is needed."""

    def __init__(self, folder: Path, entry: ShardEntry, manifest: Manifest) -> None:
        self.entry = entry
        self._manifest = manifest
        self._tar_path, self._index_path = tar_path(folder, entry.name), index_path(folder, entry.name)
        self._arrays: dict[tuple[int, str], np.ndarray] = {}

    @cached_property
    def index(self) -> Index:
        """The verified index."""
        data = read_file(self._index_path)
        if canonical.digest(data) != self.entry.index:
            raise CorruptionError(f"{self._index_path}: changed (its digest is not the one in the manifest)")
        try:
            index = decode_index(data)
            self._check_index(index)
        except ValueError as error:
            raise CorruptionError(f"{self._index_path}: {error}") from error
        return index

    def tokens(self, chunk: int) -> np.ndarray:
        """Token ids of all documents of the chunk: [tokens] uint16 or uint32, read-only."""
        return self._array(chunk, "tokens")

    def docs(self, chunk: int) -> np.ndarray:
        """Document offsets of the chunk: [documents + 1] int64, read-only."""
        return self._array(chunk, "docs")

    def column(self, chunk: int, name: str) -> np.ndarray:
        """An optional column of the chunk, read-only: [tokens], [documents] or [spans, 3]."""
        return self._array(chunk, name)

    def span_offsets(self, chunk: int, name: str) -> np.ndarray:
        """Where each document's spans begin in a column of spans: [documents + 1] int64, read-only."""
        return self._array(chunk, offsets_name(name))

    @property
    def columns(self) -> Mapping[str, Column]:
        """The columns every chunk has."""
        return self._manifest.columns

    def ids(self, chunk: int) -> list[str]:
        """Document ids of the chunk."""
        entry, member = self.index.chunks[chunk], self._member(chunk, "ids.json")
        try:
            ids = canonical.decode(bytes(self._verified(member)))
        except ValueError as error:
            raise self._corrupt(member, str(error)) from error
        if not isinstance(ids, list) or len(ids) != entry.documents or not all(isinstance(name, str) for name in ids):
            raise self._corrupt(member, "not a list with one id for each document")
        return ids

    def verify(self, *, tar: bool = True) -> None:
        """Touch every byte; CorruptionError at the first that is wrong. `tar`: also compare the digest of the whole."""
        for chunk in range(len(self.index.chunks)):
            self.ids(chunk)
            for name in ("tokens", "docs", *stored_names(self._manifest.columns)):
                self._array(chunk, name)
        # Headers, data, padding and trailer were compared one by one; this compares the manifest's digest with them.
        if tar and canonical.digest(self._data) != self.entry.sha256:
            raise CorruptionError(f"{self._tar_path}: changed (its digest is not the one in the manifest)")

    @cached_property
    def _data(self) -> memoryview:
        """The mapped tar, its size and trailer verified."""
        path, size = self._tar_path, self.index.size
        with open_regular(path) as descriptor, named_errors(path, "read"):
            found = os.fstat(descriptor).st_size
            if found != size:
                raise CorruptionError(f"{path}: {found} bytes where its index says {size}")
            data = memoryview(mmap.mmap(descriptor, size, access=mmap.ACCESS_READ))
        members = [member for chunk in self.index.chunks for member in chunk.members]
        end = members[-1].offset + members[-1].length if members else 0
        if any(data[end:]):
            raise CorruptionError(f"{path}: changed after its last member")
        return data

    def _array(self, chunk: int, name: str) -> np.ndarray:
        key = (chunk, name)
        if key not in self._arrays:
            member = self._member(chunk, f"{name}.npy")
            try:
                array = framing.npy_array(self._verified(member))
                self._check_array(chunk, name, array)
            except ValueError as error:
                raise self._corrupt(member, str(error)) from error
            self._arrays[key] = array
        return self._arrays[key]

    def _member(self, chunk: int, suffix: str) -> Member:
        for member in self.index.chunks[chunk].members:
            if member.suffix == suffix:
                return member
        raise KeyError(f"{self._tar_path} has no column {suffix.removesuffix('.npy')!r}")

    def _verified(self, member: Member) -> memoryview:
        """The member's data, once its header, data and padding are what the index says."""
        start, stop = member.offset, member.offset + member.length
        header = self._data[start - framing.BLOCK : start]
        padding = self._data[stop : stop + framing.padding_length(member.length)]
        data = self._data[start:stop]
        if header != framing.tar_header(member.name, member.length) or any(padding):
            raise self._corrupt(member, "its tar header or padding changed")
        if canonical.digest(data) != member.sha256:
            raise self._corrupt(member, "changed (its digest is not the one in the index)")
        return data

    def _corrupt(self, member: Member, problem: str) -> CorruptionError:
        return CorruptionError(f"{self._tar_path}: member {member.name}: {problem}")

    def _check_index(self, index: Index) -> None:
        entry = self.entry
        said = (entry.size, entry.sha256, entry.chunks, entry.documents, entry.tokens, entry.windows)
        if said != (index.size, index.sha256, len(index.chunks), index.documents, index.tokens, index.windows):
            raise ValueError("does not agree with the manifest")
        suffixes = member_suffixes(stored_names(self._manifest.columns))
        for chunk in index.chunks:
            if [member.suffix for member in chunk.members] != suffixes:
                raise ValueError(f"chunk {chunk.key} does not have the columns the manifest lists")

    def _check_array(self, chunk: int, name: str, array: np.ndarray) -> None:
        entry = self.index.chunks[chunk]
        if name == "docs":
            check_offsets(array, entry.documents, entry.tokens)
        elif name == "tokens":
            _check_column(array, Column(dtype=self._manifest.dtype, per="token"), entry.documents, entry.tokens)
            if len(array) and int(array.max()) >= self._manifest.tokenizer.vocab_size:
                raise ValueError(f"token id {int(array.max())} is outside the tokenizer's vocabulary")
        elif name not in self._manifest.columns:
            check_offsets(array, entry.documents, int(array[-1]) if len(array) else 0)
        elif (column := self._manifest.columns[name]).per == "span":
            offsets = self._array(chunk, offsets_name(name))
            check_spans(array, offsets, self.docs(chunk), len(column.kinds or ()))
        else:
            _check_column(array, column, entry.documents, entry.tokens)


def _check_column(array: np.ndarray, column: Column, documents: int, tokens: int) -> None:
    count = tokens if column.per == "token" else documents
    if array.dtype != np.dtype(column.dtype) or array.shape != (count,):
        raise ValueError(f"{array.dtype} of {array.shape} where {column.dtype} of {count} belongs")
