"""A chunk: about 1 MiB of the tokens of many whole documents, the unit a shard stores and a reader touches.

Invariant: a document is never cut by chunking; one longer than a chunk is a chunk of its own. Which documents share a
chunk depends on their order and lengths only.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from data_prep.shards.manifest import TokenDtype
from data_prep.shards.names import check_column_name

CHUNK_BYTES = 1 << 20


@dataclass(frozen=True)
class Chunk:
    """Documents' tokens, one after another. Document d is `tokens[docs[d]:docs[d + 1]]` and is called `ids[d]`."""

    tokens: np.ndarray  # [tokens] uint16 or uint32
    docs: np.ndarray  # [documents + 1] int64
    ids: list[str]
    columns: Mapping[str, np.ndarray] = field(default_factory=dict)  # [tokens] or [documents]

    def check(self) -> None:
        """ValueError unless the parts fit together."""
        if self.tokens.ndim != 1 or self.tokens.dtype not in (np.uint16, np.uint32):
            raise ValueError(f"tokens must be [tokens] uint16 or uint32, not {self.tokens.shape} {self.tokens.dtype}")
        check_offsets(self.docs, len(self.ids), len(self.tokens))
        for name, column in self.columns.items():
            check_column_name(name)
            if column.shape not in ((len(self.tokens),), (len(self.ids),)):
                raise ValueError(f"column {name} has shape {column.shape}: neither one per token nor one per document")


def check_offsets(docs: np.ndarray, num_documents: int, num_tokens: int) -> None:
    """ValueError unless `docs` are ascending offsets of `num_documents` documents that cover `num_tokens` tokens."""
    if docs.shape != (num_documents + 1,) or docs.dtype != np.int64:
        raise ValueError(f"document offsets must be [{num_documents + 1}] int64, not {docs.shape} {docs.dtype}")
    if docs[0] != 0 or docs[-1] != num_tokens or (np.diff(docs) < 0).any():
        raise ValueError(f"document offsets must ascend from 0 to {num_tokens}")


class ChunkBuilder:
    """Collects documents and gives back a chunk whenever the next document would not fit any more."""

    def __init__(self, dtype: TokenDtype, max_tokens: int | None = None) -> None:
        self._dtype = np.dtype(dtype)
        self._max_tokens = max_tokens or CHUNK_BYTES // self._dtype.itemsize
        self._documents: list[tuple[str, np.ndarray]] = []
        self._num_tokens = 0

    def add(self, document_id: str, token_ids: np.ndarray) -> Chunk | None:
        """Take a document ([n] of any integer type); the chunk that it completed, if it did."""
        full = self.finish() if self._num_tokens + len(token_ids) > self._max_tokens else None
        self._documents.append((document_id, self._stored(document_id, token_ids)))
        self._num_tokens += len(token_ids)
        return full

    def finish(self) -> Chunk | None:
        """The documents not given back yet, as a last chunk; None when there are none."""
        if not self._documents:
            return None
        ids, tokens = [name for name, _ in self._documents], [array for _, array in self._documents]
        docs = np.cumsum([0, *map(len, tokens)], dtype=np.int64)
        self._documents, self._num_tokens = [], 0
        return Chunk(np.concatenate(tokens), docs, ids)

    def _stored(self, document_id: str, token_ids: np.ndarray) -> np.ndarray:
        stored = token_ids.astype(self._dtype)
        if not np.array_equal(stored, token_ids):
            raise ValueError(f"document {document_id!r} has token ids that do not fit {self._dtype}")
        return stored


def build_chunks(
    documents: Iterable[tuple[str, np.ndarray]], dtype: TokenDtype, max_tokens: int | None = None
) -> Iterator[Chunk]:
    """The chunks of a stream of (document id, token ids); `max_tokens` per chunk (default: 1 MiB of tokens)."""
    builder = ChunkBuilder(dtype, max_tokens)
    for document_id, token_ids in documents:
        if chunk := builder.add(document_id, token_ids):
            yield chunk
    if chunk := builder.finish():
        yield chunk
