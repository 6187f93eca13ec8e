"""What a dataset says about itself: `manifest.json` (the dataset) and `shard-00000.index` (one shard).

Invariant: the manifest vouches for itself (it is sealed), for every index by digest and for the tokenizer's files; an
index vouches for every byte of its tar. `docs/shard-format.md` describes both files field by field.

1. Models: `Index` of `ChunkEntry` of `Member`; `Manifest` of `ShardEntry`, `TokenizerEntry` and `columns.Column`.
2. `build_manifest` puts one together; its fingerprint covers content, never paths or config.
3. `encode_*` and `decode_*` are the files' bytes.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Final, Literal, TypeVar

from pydantic import Field, ValidationError, model_validator

from data_prep.shards import canonical, framing
from data_prep.shards.columns import Column, Record, stored_names
from data_prep.shards.names import ColumnName, FileName, Name, check_column_name

FORMAT_VERSION: Final = 1
FIXED_SUFFIXES = ("tokens.npy", "docs.npy", "ids.json")  # what every chunk holds; columns follow by name

Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Count = Annotated[int, Field(ge=0)]
TokenDtype = Literal["uint16", "uint32"]


Model = TypeVar("Model", bound=Record)


class Member(Record):
    """One file inside the tar: `length` bytes of data at byte `offset`."""

    name: str
    offset: Count
    length: Count
    sha256: Digest

    @property
    def suffix(self) -> str:
        """The part after the chunk's key, as `tokens.npy`."""
        return self.name.partition(".")[2]


class ChunkEntry(Record):
    """One chunk of the tar: its members in their order, and the window count of each stored plan."""

    key: str
    documents: Count
    tokens: Count
    members: list[Member]
    windows: dict[str, Count]


class Index(Record):
    """Everything there is to know about one tar without opening it."""

    format_version: Literal[1]
    size: Count
    sha256: Digest
    documents: Count
    tokens: Count
    windows: dict[str, Count]
    chunks: list[ChunkEntry]

    @model_validator(mode="after")
    def _consistent(self) -> "Index":
        _check_layout(self)
        if self.documents != sum(chunk.documents for chunk in self.chunks):
            raise ValueError("documents is not the sum over the chunks")
        if self.tokens != sum(chunk.tokens for chunk in self.chunks):
            raise ValueError("tokens is not the sum over the chunks")
        for chunk in self.chunks:
            if chunk.windows.keys() != self.windows.keys():
                raise ValueError(f"chunk {chunk.key} and the shard count windows of different plans")
        if any(count != sum(chunk.windows[key] for chunk in self.chunks) for key, count in self.windows.items()):
            raise ValueError("windows is not the sum over the chunks")
        return self


class ShardEntry(Record):
    """What the manifest says of one shard: `NAME.tar` (size, sha256) and `NAME.index` (index = its digest)."""

    name: Name
    index: Digest
    size: Count
    sha256: Digest
    chunks: Count
    documents: Count
    tokens: Count
    windows: dict[str, Count]

    def renamed(self, name: str) -> "ShardEntry":
        """The same shard under another name (a shard's bytes do not contain its name)."""
        return ShardEntry.model_validate({**self.model_dump(), "name": name})


class TokenizerFile(Record):
    """One file of the tokenizer's folder."""

    size: Count
    sha256: Digest


class TokenizerEntry(Record):
    """The tokenizer the dataset was made with; `path` is its folder inside the dataset."""

    digest: str
    vocab_size: Annotated[int, Field(ge=1, le=2**32)]
    path: Name
    files: dict[FileName, TokenizerFile]


class Totals(Record):
    """Sums over all shards of all splits; `bytes` counts the tars."""

    documents: Count
    tokens: Count
    bytes: Count


class Manifest(Record):
    """The dataset. Written last, from shards that verify."""

    format_version: Literal[1]
    name: str
    fingerprint: Digest
    tokenizer: TokenizerEntry
    dtype: TokenDtype
    columns: dict[ColumnName, Column]
    config: dict[str, Any]
    splits: dict[Name, list[ShardEntry]]
    totals: Totals
    report: dict[str, Any]

    @model_validator(mode="after")
    def _consistent(self) -> "Manifest":
        names = [entry.name for entry in self.entries]
        if len(set(names)) != len(names):
            raise ValueError("a shard is listed twice")
        if self.totals != _totals(self.entries):
            raise ValueError("totals is not the sum over the shards")
        if self.fingerprint != _fingerprint(self.tokenizer, self.splits):
            raise ValueError("fingerprint is not that of the listed shards")
        member_suffixes(stored_names(self.columns))
        if self.dtype != token_dtype(self.tokenizer.vocab_size):
            raise ValueError(f"dtype {self.dtype} does not fit a vocabulary of {self.tokenizer.vocab_size}")
        return self

    @property
    def entries(self) -> list[ShardEntry]:
        """The shards of all splits, in order."""
        return [entry for split in self.splits.values() for entry in split]


def token_dtype(vocab_size: int) -> TokenDtype:
    """The type token ids are stored as: uint16 where every id below `vocab_size` fits, else uint32."""
    return "uint16" if vocab_size <= 2**16 else "uint32"


def build_manifest(
    name: str,
    tokenizer: TokenizerEntry,
    splits: Mapping[str, Sequence[ShardEntry]],
    config: Mapping[str, Any],
    report: Mapping[str, Any],
    columns: Mapping[str, Column] | None = None,
) -> Manifest:
    """The manifest of the given shards, in the given order, with totals and content fingerprint filled in.

    `config` and `report` are JSON values (of a pydantic model: `model_dump(mode="json")`).
    """
    entries = [entry for split in splits.values() for entry in split]
    return Manifest(
        format_version=FORMAT_VERSION,
        name=name,
        fingerprint=_fingerprint(tokenizer, splits),
        tokenizer=tokenizer,
        dtype=token_dtype(tokenizer.vocab_size),
        columns=dict(columns or {}),
        config=dict(config),
        splits={split: list(listed) for split, listed in splits.items()},
        totals=_totals(entries),
        report=dict(report),
    )


def encode_manifest(manifest: Manifest) -> bytes:
    """The bytes of `manifest.json`."""
    return canonical.encode_sealed(manifest.model_dump())


def decode_manifest(data: bytes) -> Manifest:
    """The manifest of a file's bytes; ValueError saying what is wrong with them."""
    return _validate(Manifest, canonical.decode_sealed(data))


def encode_index(index: Index) -> bytes:
    """The bytes of an index file."""
    return canonical.encode(index.model_dump())


def decode_index(data: bytes) -> Index:
    """The index of a file's bytes; ValueError saying what is wrong with them."""
    return _validate(Index, canonical.decode(data))


def _validate(model: type[Model], content: Any) -> Model:
    version = content.get("format_version") if isinstance(content, dict) else None
    if version != FORMAT_VERSION:
        raise ValueError(f"format version {version!r}; this version of Spanwright reads {FORMAT_VERSION}")
    try:
        return model.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "content"
        raise ValueError(f"{place}: {first['msg']}") from error


def _totals(entries: Sequence[ShardEntry]) -> Totals:
    return Totals(
        documents=sum(entry.documents for entry in entries),
        tokens=sum(entry.tokens for entry in entries),
        bytes=sum(entry.size for entry in entries),
    )


def _fingerprint(tokenizer: TokenizerEntry, splits: Mapping[str, Sequence[ShardEntry]]) -> str:
    """Content alone: the digests of the tars (which hold all data), in order, split by split, and the tokenizer's."""
    shards = {split: [entry.sha256 for entry in entries] for split, entries in splits.items()}
    return canonical.digest(canonical.encode([FORMAT_VERSION, tokenizer.digest, shards]))


def _check_layout(index: Index) -> None:
    """Every member lies where the one allowed layout of a tar puts it."""
    end = 0
    for number, chunk in enumerate(index.chunks):
        if chunk.key != chunk_key(number):
            raise ValueError(f"chunk {number} has the unexpected key {chunk.key!r}")
        columns = [member.suffix.removesuffix(".npy") for member in chunk.members[len(FIXED_SUFFIXES) :]]
        expected = [f"{chunk.key}.{suffix}" for suffix in member_suffixes(columns)]
        if [member.name for member in chunk.members] != expected:
            raise ValueError(f"chunk {chunk.key} has unexpected members, or in an unexpected order")
        for member in chunk.members:
            if member.offset != end + framing.BLOCK:
                raise ValueError(f"member {member.name} is not where the format puts it")
            end = member.offset + member.length + framing.padding_length(member.length)
    if index.size != end + framing.trailer_length(end):
        raise ValueError(f"size {index.size} does not match its members")


def chunk_key(number: int) -> str:
    """The key of the shard's chunk `number`, counted from 0."""
    return f"{number:06d}"


def member_suffixes(columns: Iterable[str]) -> list[str]:
    """The members of a chunk with these arrays, in order; ValueError for a bad name or one given twice."""
    names = sorted(columns)
    if len(set(names)) != len(names):
        raise ValueError("two columns have the same name, or one is called as another's offsets")
    return [*FIXED_SUFFIXES, *(f"{check_column_name(name)}.npy" for name in names)]
