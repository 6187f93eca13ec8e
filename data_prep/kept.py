"""A pass that only drops documents leaves no copies of the others: it notes which of its source's documents stay.

Invariant: reading the source's file with the note gives the documents that the pass let through, in order.
"""

import io
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from data_prep.documents import StoredDocuments, read_kept
from data_prep.shards import canonical
from data_prep.shards.files import place, staged_bytes
from data_prep.sources.document import Document

KEPT_NAME = "kept.npy"


class KeptWriter:
    """Notes which of the documents that go through `watched` come to `add`, in the same order.

    `digest` is that of the source's documents, `kept` the note that these were chosen by already, if they were.
    """

    def __init__(self, path: Path, digest: str, kept: Path | None) -> None:
        self._path, self._digest, self._kept = path, digest, kept
        self._waiting: deque[tuple[int, Document]] = deque()
        self._numbers: list[int] = []
        self._text_bytes = 0

    def watched(self, documents: Iterable[Document]) -> Iterator[Document]:
        """The source's documents as they are."""
        for entry in enumerate(documents):
            self._waiting.append(entry)
            yield entry[1]

    def add(self, document: Document) -> None:
        """This one stays; those before it that were not added do not."""
        while (entry := self._waiting.popleft())[1] is not document:
            pass
        self._numbers.append(entry[0])
        self._text_bytes += document.num_bytes

    def close(self) -> StoredDocuments:
        """Write the note: [documents] int64, ascending, of the source's file."""
        numbers = np.array(self._numbers, np.int64)
        digest = canonical.digest(canonical.encode([self._digest, canonical.digest(numbers.tobytes())]))
        note = io.BytesIO()
        np.save(note, numbers if self._kept is None else read_kept(self._kept)[numbers], allow_pickle=False)
        place([staged_bytes(self._path, note.getvalue())])
        return StoredDocuments(len(numbers), self._text_bytes, digest, canonical.digest(note.getvalue()))
