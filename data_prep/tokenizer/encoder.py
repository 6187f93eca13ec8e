"""The fast encoder: `encoder.cpp` for models that `exact.py` vouches for.

Invariant: `Encoder.encode` gives what SentencePiece gives for each encoding segment, ids and their order alike. What
the C++ code refuses (segments with sums that float32 would round) goes through `slowly`, which is SentencePiece itself.
"""

import ctypes
import functools
import itertools
import threading
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from data_prep import native
from data_prep.tokenizer.exact import ExactPieces

SOURCE = Path(__file__).with_name("encoder.cpp")
CACHE_BITS = 19  # at most 2**19 chunks of 64 bytes: 32 MiB a process
_ROOM_IDS = 6  # kEntryIds in encoder_cache.h: how far encoder.cpp may write beyond the last id
_SEGMENT_BYTES = 4096  # no segment but the last is shorter
_POINTER, _INT64, _INT32 = ctypes.c_void_p, ctypes.c_int64, ctypes.c_int32


class Encoder:
    """Text to ids for one model. Threads may share it; they take turns."""

    def __init__(self, pieces: ExactPieces, library: ctypes.CDLL) -> None:
        self._library = library
        self._handle = _new_encoder(library, pieces)
        weakref.finalize(self, library.encoder_delete, self._handle)
        self._turn = threading.Lock()
        self._num_refused = ctypes.c_int64()
        self._reserve(1 << 16)

    def encode(self, data: bytes, slowly: Callable[[str], np.ndarray]) -> np.ndarray:
        """Ids of the UTF-8 text `data`, int32 [tokens]. `slowly` encodes one segment."""
        with self._turn:
            if len(data) > self._num_bytes:
                self._reserve(len(data))
            num_ids = self._library.encoder_encode(
                self._handle, data, len(data), self._out_address, self._refused_address, ctypes.byref(self._num_refused)
            )
            if num_ids < 0:
                raise MemoryError
            ids = self._out[:num_ids].copy()
            refused = self._refused[: self._num_refused.value].copy()
        return _with_refused(ids, refused, data, slowly) if len(refused) else ids

    def encode_texts(self, texts: Sequence[bytes], slowly: Callable[[str], np.ndarray]) -> list[np.ndarray]:
        """`encode` for each of several texts; small ones take far less time together."""
        data, ends = b"".join(texts), np.fromiter(itertools.accumulate(map(len, texts)), np.int64, len(texts))
        id_ends = np.empty(len(texts), np.int64)
        with self._turn:
            if len(data) > self._num_bytes:
                self._reserve(len(data))
            num_ids = self._library.encoder_encode_texts(
                self._handle, data, ends.ctypes.data, len(texts), self._out_address, id_ends.ctypes.data
            )
            if num_ids == -1:
                raise MemoryError
            ids = self._out[: max(num_ids, 0)].copy()
        if num_ids < 0:
            return [self.encode(text, slowly) for text in texts]
        bounds = itertools.pairwise([0, *id_ends.tolist()])
        return [ids[start:stop] for start, stop in bounds]

    def _reserve(self, num_bytes: int) -> None:
        """Work space for texts of `num_bytes`; it is kept, and memory never written to is never taken."""
        self._num_bytes = num_bytes
        self._out = np.empty(num_bytes + _ROOM_IDS, dtype=np.int32)
        self._refused = np.empty((num_bytes // _SEGMENT_BYTES + 1, 3), dtype=np.int64)
        self._out_address, self._refused_address = self._out.ctypes.data, self._refused.ctypes.data


@functools.cache
def native_library() -> ctypes.CDLL | None:
    """`encoder.cpp`, built if need be; None without a compiler."""
    library = native.load(SOURCE)
    if library is None:
        return None
    library.encoder_new.restype = _POINTER
    library.encoder_new.argtypes = [*[_POINTER] * 4, _INT64, _POINTER, _INT32, _INT64, _INT32]
    library.encoder_delete.argtypes = [_POINTER]
    library.encoder_encode.restype = _INT64
    library.encoder_encode.argtypes = [_POINTER, ctypes.c_char_p, _INT64, *[_POINTER] * 3]
    library.encoder_encode_texts.restype = _INT64
    library.encoder_encode_texts.argtypes = [_POINTER, ctypes.c_char_p, _POINTER, _INT64, *[_POINTER] * 2]
    library.encoder_segments.restype = _INT64
    library.encoder_segments.argtypes = [ctypes.c_char_p, _INT64, _POINTER]
    return library


def _new_encoder(library: ctypes.CDLL, pieces: ExactPieces) -> int:
    spellings = np.frombuffer(b"".join(pieces.spellings), dtype=np.uint8)
    ends = np.cumsum([len(spelling) for spelling in pieces.spellings], dtype=np.int64)
    arrays = (spellings, ends, pieces.ids, pieces.costs)
    handle = library.encoder_new(
        *[array.ctypes.data for array in arrays],
        len(pieces.ids),
        pieces.byte_ids.ctypes.data,
        pieces.unknown_cost,
        pieces.cost_limit,
        CACHE_BITS,
    )
    if not handle:
        raise MemoryError
    return handle


def _with_refused(ids: np.ndarray, refused: np.ndarray, data: bytes, slowly: Callable[[str], np.ndarray]) -> np.ndarray:
    parts, done = [], 0
    for begin, end, num_before in refused.tolist():
        parts += [ids[done:num_before], slowly(data[begin:end].decode())]
        done = num_before
    return np.concatenate([*parts, ids[done:]])
