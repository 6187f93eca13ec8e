"""Token shards: the contract between preparation and training (`docs/shard-format.md`).

`writer` makes shards and the manifest, `reader` maps them, `audit` re-hashes them, `packing` plans windows; nothing
outside this folder knows that a shard is a tar.
"""

from data_prep.shards.audit import AuditReport, audit_dataset
from data_prep.shards.chunk import Chunk, ChunkBuilder, TokenizedDocument, build_chunks
from data_prep.shards.columns import Column
from data_prep.shards.manifest import (
    FORMAT_VERSION,
    Manifest,
    ShardEntry,
    TokenizerEntry,
    build_manifest,
    token_dtype,
)
from data_prep.shards.packing import DEFAULT_MAX_PIECES, Packing, Windows, plan_windows
from data_prep.shards.reader import Dataset, MappedChunk, Split
from data_prep.shards.writer import (
    ShardWriter,
    describe_tokenizer,
    flush_shards,
    link_shard,
    write_manifest,
    write_shard,
)

__all__ = [
    "DEFAULT_MAX_PIECES",
    "FORMAT_VERSION",
    "AuditReport",
    "Chunk",
    "ChunkBuilder",
    "Column",
    "Dataset",
    "Manifest",
    "MappedChunk",
    "Packing",
    "ShardEntry",
    "ShardWriter",
    "Split",
    "TokenizedDocument",
    "TokenizerEntry",
    "Windows",
    "audit_dataset",
    "build_chunks",
    "build_manifest",
    "describe_tokenizer",
    "flush_shards",
    "link_shard",
    "plan_windows",
    "token_dtype",
    "write_manifest",
    "write_shard",
]
