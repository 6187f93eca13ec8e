"""Write shards and the manifest. Whatever fails, nothing half-written stands under a final name.

Invariant: the same chunks and window sizes give the same bytes, on any machine, whoever writes them.

1. `ShardWriter` streams chunks into `NAME.tar` under a temporary name, digesting what it writes.
2. On closing, tar and index are flushed and renamed, the index last: an index under its final name means a whole tar.
3. `link_shard` gives a finished shard its name in the dataset, `flush_shards` brings all of them to the disk at once,
   `write_manifest` verifies every byte and writes the manifest.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType

from data_prep.errors import CorruptionError
from data_prep.shards import canonical, framing
from data_prep.shards.audit import audit_shards, audit_tokenizer, unlisted_files
from data_prep.shards.chunk import Chunk
from data_prep.shards.files import StagedFile, flush_files, link_file, place, publish, read_file, staged_bytes
from data_prep.shards.manifest import (
    FORMAT_VERSION,
    ChunkEntry,
    Index,
    Manifest,
    Member,
    ShardEntry,
    TokenizerEntry,
    TokenizerFile,
    chunk_key,
    encode_index,
    encode_manifest,
    member_suffixes,
)
from data_prep.shards.names import MANIFEST_NAME, check_name, index_path, tar_path
from data_prep.shards.packing import DEFAULT_MAX_PIECES, PACKINGS, plan_key, plan_windows


class ShardWriter:
    """One shard being written: `add` chunks, then `close` publishes it and returns its entry.

    As a context manager it publishes at the end of the block (the entry is then in `entry`), and leaves nothing
    behind when the block raises. For every window size the index gets the window counts of both packings
    (`max_pieces` 8). With `flushed` false it does not wait for the disk: `flush_shards` does, once for many.
    """

    def __init__(self, folder: Path, name: str, window_sizes: Sequence[int], *, flushed: bool = True) -> None:
        self._name = check_name(name)
        self._rename = publish if flushed else place
        self._window_sizes = sorted(set(window_sizes))
        self._index_path = index_path(folder, name)
        self._tar = StagedFile(tar_path(folder, name))
        self._chunks: list[ChunkEntry] = []
        self._size = 0
        self._hash = hashlib.sha256()
        self._entry: ShardEntry | None = None

    def __enter__(self) -> "ShardWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.abort()

    @property
    def entry(self) -> ShardEntry:
        """What the manifest will say of the shard, once it is published."""
        assert self._entry is not None, "the shard has not been closed"
        return self._entry

    def add(self, chunk: Chunk) -> None:
        """Append a chunk."""
        chunk.check()
        key = chunk_key(len(self._chunks))
        members = [self._add_member(f"{key}.{suffix}", parts) for suffix, parts in _chunk_members(chunk)]
        self._chunks.append(
            ChunkEntry(
                key=key,
                documents=len(chunk.ids),
                tokens=len(chunk.tokens),
                members=members,
                windows=_count_windows(chunk, self._window_sizes),
            )
        )

    def close(self) -> ShardEntry:
        """Flush and publish tar and index."""
        try:
            self._write(bytes(framing.trailer_length(self._size)))
            index = self._build_index()
            encoded = encode_index(index)
            self._rename([self._tar, staged_bytes(self._index_path, encoded)])
        except BaseException:
            self.abort()
            raise
        self._entry = _shard_entry(self._name, index, canonical.digest(encoded))
        return self._entry

    def abort(self) -> None:
        """Leave nothing behind."""
        self._tar.discard()

    def _add_member(self, name: str, parts: Sequence[bytes | memoryview]) -> Member:
        length = sum(len(part) for part in parts)
        self._write(framing.tar_header(name, length))
        member_hash, offset = hashlib.sha256(), self._size
        for part in parts:
            self._write(part)
            member_hash.update(part)
        self._write(bytes(framing.padding_length(length)))
        return Member(name=name, offset=offset, length=length, sha256=member_hash.hexdigest())

    def _write(self, data: bytes | memoryview) -> None:
        self._tar.write(data)
        self._hash.update(data)
        self._size += len(data)

    def _build_index(self) -> Index:
        keys = _plan_keys(self._window_sizes)
        return Index(
            format_version=FORMAT_VERSION,
            size=self._size,
            sha256=self._hash.hexdigest(),
            documents=sum(chunk.documents for chunk in self._chunks),
            tokens=sum(chunk.tokens for chunk in self._chunks),
            windows={key: sum(chunk.windows[key] for chunk in self._chunks) for key in keys},
            chunks=self._chunks,
        )


def write_shard(folder: Path, name: str, chunks: Iterable[Chunk], window_sizes: Sequence[int]) -> ShardEntry:
    """Write `NAME.tar` and `NAME.index` into `folder`; an exception (also from `chunks`) leaves neither behind."""
    with ShardWriter(folder, name, window_sizes) as shard:
        for chunk in chunks:
            shard.add(chunk)
    return shard.entry


def link_shard(source: Path, entry: ShardEntry, folder: Path, name: str) -> ShardEntry:
    """Give the shard `entry` of the folder `source` the name `name` in `folder` (a hard link where possible).

    A shard already there under that name is replaced. Tar first, index last, as `ShardWriter` does. It is on the disk
    after `flush_shards`.
    """
    for path_of in (tar_path, index_path):
        link_file(path_of(source, entry.name), path_of(folder, name))
    return entry.renamed(name)


def flush_shards(folder: Path, entries: Iterable[ShardEntry]) -> None:
    """Bring the shards of a dataset to the disk."""
    flush_files([path_of(folder, entry.name) for entry in entries for path_of in (tar_path, index_path)])


def describe_tokenizer(folder: Path, path: str, digest: str, vocab_size: int) -> TokenizerEntry:
    """The manifest's entry of the tokenizer in `folder / path`: every regular file in it, with its digest."""
    files = {}
    for file in sorted((folder / check_name(path)).iterdir()):
        data = read_file(file)
        files[file.name] = TokenizerFile(size=len(data), sha256=canonical.digest(data))
    return TokenizerEntry(digest=digest, vocab_size=vocab_size, path=path, files=files)


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Publish the dataset: write `manifest.json`, or raise CorruptionError naming what does not verify."""
    shards = audit_shards(folder, manifest, tars=False)  # their digests were made of the bytes that the indexes tell
    problems = [*audit_tokenizer(folder, manifest), *shards, *unlisted_files(folder, manifest)]
    if problems:
        raise CorruptionError(f"{problems[0]} (the manifest was not written; {len(problems)} problem(s) in {folder})")
    publish([staged_bytes(folder / MANIFEST_NAME, encode_manifest(manifest))])


def _chunk_members(chunk: Chunk) -> Iterator[tuple[str, Sequence[bytes | memoryview]]]:
    """Suffix and bytes of each member, in the order of the format."""
    parts: dict[str, Sequence[bytes | memoryview]] = {
        "tokens.npy": framing.npy_parts(chunk.tokens),
        "docs.npy": framing.npy_parts(chunk.docs),
        "ids.json": (canonical.encode(chunk.ids),),
    }
    parts |= {f"{name}.npy": framing.npy_parts(column) for name, column in chunk.columns.items()}
    for suffix in member_suffixes(chunk.columns):
        yield suffix, parts[suffix]


def _count_windows(chunk: Chunk, window_sizes: Sequence[int]) -> dict[str, int]:
    return {
        plan_key(packing, window, DEFAULT_MAX_PIECES): len(
            plan_windows(chunk.docs, window, packing, DEFAULT_MAX_PIECES)
        )
        for packing in PACKINGS
        for window in window_sizes
    }


def _plan_keys(window_sizes: Sequence[int]) -> list[str]:
    return [plan_key(packing, window, DEFAULT_MAX_PIECES) for packing in PACKINGS for window in window_sizes]


def _shard_entry(name: str, index: Index, index_digest: str) -> ShardEntry:
    return ShardEntry(
        name=name,
        index=index_digest,
        size=index.size,
        sha256=index.sha256,
        chunks=len(index.chunks),
        documents=index.documents,
        tokens=index.tokens,
        windows=index.windows,
    )
