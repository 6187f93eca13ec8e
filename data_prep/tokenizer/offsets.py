"""Where each token begins in its text.

Invariant: the pieces of one character (its bytes) all begin at that character; begins never descend.

1. A lossless tokenizer's pieces are the text's own bytes, one after another: a running sum of their lengths gives
   begins in bytes, and counting the bytes that start a character turns these into characters.
2. For models that change the text first SentencePiece keeps the mapping; it is asked where lengths do not add up.
"""

from collections.abc import Iterable

import numpy as np
import sentencepiece

from data_prep.tokenizer.segments import WORD_MARK

_CONTINUATION = 0x80  # a byte 10xxxxxx continues a character in UTF-8
_CONTINUATION_MASK = 0xC0


def starts_by_length(text: str, piece_bytes: np.ndarray) -> np.ndarray | None:
    """Character index of each token's first byte, int32 [tokens]; None if `piece_bytes` do not sum to the text's bytes.

    `piece_bytes`: int [tokens], how many bytes of the text each token stands for, 0 for special tokens.
    """
    ends = np.cumsum(piece_bytes, dtype=np.int64)
    data = text.encode()
    if (int(ends[-1]) if len(ends) else 0) != len(data):
        return None
    starts = ends - piece_bytes
    if len(data) == len(text):
        return starts.astype(np.int32)
    return _characters_before(data, len(text))[starts]


def mapped_starts(
    processor: sentencepiece.SentencePieceProcessor, parts: Iterable[str], word_mark_ids: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Ids and begins (both int32 [tokens]) of a text that is cut into `parts`, as SentencePiece maps them."""
    ids: list[int] = []
    starts: list[int] = []
    position = 0
    for part in parts:
        if part == WORD_MARK:
            ids += word_mark_ids.tolist()
            starts += [position] * len(word_mark_ids)
        else:
            mapping = processor.encode(part, return_type="offset_mapping")
            ids += mapping["ids"]
            starts += [position + begin for begin, _ in mapping["offsets"]]
        position += len(part)
    return np.array(ids, dtype=np.int32), np.array(starts, dtype=np.int32)


def _characters_before(data: bytes, num_chars: int) -> np.ndarray:
    """For each byte the index of its character, and once more for the end: int32 [bytes + 1]."""
    begins_character = (np.frombuffer(data, dtype=np.uint8) & _CONTINUATION_MASK) != _CONTINUATION
    index = np.empty(len(data) + 1, dtype=np.int32)
    np.cumsum(begins_character, out=index[:-1])
    index[:-1] -= 1
    index[-1] = num_chars
    return index
