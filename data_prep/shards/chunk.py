"""A chunk: about 1 MiB of the tokens of many whole documents, the unit a shard stores and a reader touches.

Invariant: a document is never cut by chunking; one longer than a chunk is a chunk of its own. Which documents share a
chunk depends on their order and lengths only.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np

from data_prep.shards.columns import Column, offsets_name
from data_prep.shards.manifest import TokenDtype
from data_prep.shards.names import check_column_name

CHUNK_BYTES = 1 << 20
SPAN_WIDTH = 3  # start, stop, kind
NO_COLUMNS: Mapping[str, np.ndarray] = MappingProxyType({})


@dataclass(frozen=True)
class TokenizedDocument:
    """One document as a shard holds it; what `ChunkBuilder.add` takes and a reader gives back."""

    id: str
    token_ids: np.ndarray  # [tokens]
    columns: Mapping[str, np.ndarray] = field(default_factory=dict)  # [tokens], [1] (per document) or [spans, 3]


@dataclass(frozen=True)
class Chunk:
    """Documents' tokens, one after another. Document d is `tokens[docs[d]:docs[d + 1]]` and is called `ids[d]`.

    A column is [tokens], [documents], or spans: [spans, 3] beside their offsets, [documents + 1], called `NAME_docs`.
    """

    tokens: np.ndarray  # [tokens] uint16 or uint32
    docs: np.ndarray  # [documents + 1] int64
    ids: list[str]
    columns: Mapping[str, np.ndarray] = field(default_factory=dict)

    def check(self) -> None:
        """ValueError unless the parts fit together."""
        if self.tokens.ndim != 1 or self.tokens.dtype not in (np.uint16, np.uint32):
            raise ValueError(f"tokens must be [tokens] uint16 or uint32, not {self.tokens.shape} {self.tokens.dtype}")
        check_offsets(self.docs, len(self.ids), len(self.tokens))
        offsets = {offsets_name(name) for name, column in self.columns.items() if column.ndim == 2}
        if missing := offsets - self.columns.keys():
            raise ValueError(f"spans without their offsets, {min(missing)}")
        for name, column in self.columns.items():
            check_column_name(name)
            if name not in offsets:
                self._check_column(name, column)

    def documents(self, columns: Mapping[str, Column]) -> Iterator[TokenizedDocument]:
        """The documents in order, each with its part of every column. `columns` says what they are."""
        per = {name: self._bounds(name, column.per) for name, column in columns.items()}
        docs = self.docs.tolist()
        for number, document_id in enumerate(self.ids):
            parts = {name: self.columns[name][slice(*bounds[number : number + 2])] for name, bounds in per.items()}
            yield TokenizedDocument(document_id, self.tokens[slice(*docs[number : number + 2])], parts)

    def _bounds(self, name: str, per: str) -> list[int]:
        """Where each document's part of a column begins, and the last one's ends."""
        if per == "span":
            return self.columns[offsets_name(name)].tolist()
        return self.docs.tolist() if per == "token" else list(range(len(self.docs)))

    def _check_column(self, name: str, column: np.ndarray) -> None:
        if column.ndim == 2:
            check_spans(column, self.columns[offsets_name(name)], self.docs)
        elif column.shape not in ((len(self.tokens),), (len(self.ids),)):
            raise ValueError(f"column {name} has shape {column.shape}: neither one per token nor one per document")


def check_offsets(docs: np.ndarray, num_documents: int, num_tokens: int) -> None:
    """ValueError unless `docs` are ascending offsets of `num_documents` documents that cover `num_tokens` tokens."""
    if docs.shape != (num_documents + 1,) or docs.dtype != np.int64:
        raise ValueError(f"document offsets must be [{num_documents + 1}] int64, not {docs.shape} {docs.dtype}")
    if docs[0] != 0 or docs[-1] != num_tokens or (np.diff(docs) < 0).any():
        raise ValueError(f"document offsets must ascend from 0 to {num_tokens}")


def check_spans(spans: np.ndarray, offsets: np.ndarray, docs: np.ndarray, num_kinds: int = 2**31) -> None:
    """ValueError unless `spans` are (start, stop, kind) of [spans, 3] int32, each within its document."""
    if spans.dtype != np.int32 or spans.shape[1:] != (SPAN_WIDTH,):
        raise ValueError(f"spans must be [spans, {SPAN_WIDTH}] int32, not {spans.shape} {spans.dtype}")
    check_offsets(offsets, len(docs) - 1, len(spans))
    lengths = np.repeat(np.diff(docs), np.diff(offsets))
    start, stop, kind = spans.T
    if ((start < 0) | (start >= stop) | (stop > lengths)).any():
        raise ValueError("a span is empty or outside its document")
    if ((kind < 0) | (kind >= num_kinds)).any():
        raise ValueError("a span is of a kind that has no name")


class ChunkBuilder:
    """Collects documents and gives back a chunk whenever the next document would not fit any more."""

    def __init__(self, dtype: TokenDtype, max_tokens: int | None = None) -> None:
        self._dtype = np.dtype(dtype)
        self._max_tokens = max_tokens or CHUNK_BYTES // self._dtype.itemsize
        self._documents: list[TokenizedDocument] = []
        self._num_tokens = 0

    def add(
        self, document_id: str, token_ids: np.ndarray, columns: Mapping[str, np.ndarray] = NO_COLUMNS
    ) -> Chunk | None:
        """Take a document ([n] of any integer type); the chunk that it completed, if it did.

        Every document has the same columns, each of one type: [n] (per token), [1] (per document) or [spans, 3].
        """
        full = self.finish() if self._num_tokens + len(token_ids) > self._max_tokens else None
        if self._documents and self._documents[0].columns.keys() != columns.keys():
            raise ValueError(f"document {document_id!r} has other columns than the ones before it: {sorted(columns)}")
        self._documents.append(TokenizedDocument(document_id, token_ids, columns))
        self._num_tokens += len(token_ids)
        return full

    def finish(self) -> Chunk | None:
        """The documents not given back yet, as a last chunk; None when there are none."""
        if not self._documents:
            return None
        documents, self._documents, self._num_tokens = self._documents, [], 0
        columns: dict[str, np.ndarray] = {}
        for name in documents[0].columns:
            columns |= _joined(name, [document.columns[name] for document in documents])
        tokens = [document.token_ids for document in documents]
        return Chunk(self._stored(documents), _offsets(tokens), [document.id for document in documents], columns)

    def _stored(self, documents: Sequence[TokenizedDocument]) -> np.ndarray:
        joined = np.concatenate([document.token_ids for document in documents])
        if len(joined) and not 0 <= joined.min() <= joined.max() <= np.iinfo(self._dtype).max:
            wrong = next(d.id for d in documents if not np.array_equal(d.token_ids.astype(self._dtype), d.token_ids))
            raise ValueError(f"document {wrong!r} has token ids that do not fit {self._dtype}")
        return joined.astype(self._dtype, copy=False)


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


def _joined(name: str, parts: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
    """The arrays a chunk holds of a column."""
    if any(part.dtype != parts[0].dtype or part.ndim != parts[0].ndim for part in parts):
        raise ValueError(f"column {name} changes its type from document to document")
    joined = {name: np.concatenate(parts)}
    return joined | {offsets_name(name): _offsets(parts)} if parts[0].ndim == 2 else joined


def _offsets(parts: Sequence[np.ndarray]) -> np.ndarray:
    return np.cumsum([0, *map(len, parts)], dtype=np.int64)
