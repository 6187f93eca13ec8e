"""Document frequencies: in how many documents each token occurs.

Invariant: the C++ loop (`document_counts.cpp`) and the NumPy code, for machines without a compiler, count the same.
"""

import ctypes
import functools
from pathlib import Path

import numpy as np

from data_prep import native

SOURCE = Path(__file__).with_name("document_counts.cpp")


class DocumentCounts:
    """Counts at most 2**32 - 1 documents."""

    def __init__(self, vocab_size: int) -> None:
        self._seen = np.zeros((vocab_size, 2), np.uint32)  # see Seen in document_counts.cpp
        self._address = self._seen.ctypes.data  # asking NumPy takes as long as counting
        self._num_documents = 0
        self._library = native_library()

    @property
    def counts(self) -> np.ndarray:
        """The number of documents, then for each token that of documents with it: [1 + vocab_size] int64."""
        return np.concatenate(([self._num_documents], self._seen[:, 1]), dtype=np.int64)

    def add(self, token_ids: np.ndarray) -> None:
        """Count a document: [tokens] of any integer type."""
        self._num_documents += 1
        if self._library is None:
            self._seen[np.unique(token_ids), 1] += 1
            return
        ids = np.ascontiguousarray(token_ids, np.int32)
        address = ids.__array_interface__["data"][0]
        self._library.document_counts_add(address, len(ids), self._num_documents, self._address)


@functools.cache
def native_library() -> ctypes.CDLL | None:
    """`document_counts.cpp`, built if need be; None without a compiler."""
    library = native.load(SOURCE)
    if library is not None:
        pointer, number = ctypes.c_void_p, ctypes.c_int64
        library.document_counts_add.argtypes = [pointer, number, ctypes.c_uint32, pointer]
    return library
