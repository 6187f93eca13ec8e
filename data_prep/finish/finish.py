"""What happens after tokenizing, when it needs the whole corpus's tokens: `select` (copies) and `weight` (a column).

Every file of this folder is one finish and defines `Config`, `VERSION`, `observer(config, vocab_size)`, `REDUCTIONS`
(see `data_prep.stages.stage`) and `finish(config, decision, split)`; and `observing(config)`, as a stage may. One that
adds columns without a look at single documents also defines `chunk_finish(config, decision)`.

1. Tokenizing shows an observer every training document of its unit, with its tokens; held-out ones are not shown.
2. The reductions decide.
3. The finishes, one after another, go over the unit's tokenized documents and write the final shards.
"""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from data_prep.shards import Chunk, TokenizedDocument
from data_prep.sources.document import Document

__all__ = ["ChunkFinish", "Finish", "TokenObserver", "TokenizedDocument"]


class TokenObserver(Protocol):
    """Sees the training documents of one unit, in order, with their tokens."""

    def add(self, document: Document, token_ids: np.ndarray) -> None:
        """Take note of a document; `token_ids` are [n] of any integer type."""

    def save(self, folder: Path) -> dict[str, Any]:
        """Write files into `folder` (new, its own); return plain JSON counts for the record and the card."""


Finish = Callable[[Iterable[TokenizedDocument]], Iterator[TokenizedDocument]]
ChunkFinish = Callable[[Chunk], Chunk]  # the same documents with the same tokens, many at a time
