"""The shingles of a text as 64-bit hashes: runs of `ngram` words, without case, punctuation or the amount of space.

Invariant: a text's shingles depend on the text and `ngram` alone, not on the texts hashed with it.

1. Texts are lowered; ASCII punctuation and the general and CJK punctuation blocks count as white space.
2. A word is what stands between white space. In scripts written without spaces (Chinese characters, kana, Thai, Lao,
   Khmer, Burmese) every character is a word of its own.
3. A text of fewer than `ngram` words (one long sequence, a short line) is read by characters instead, as it stands
   but for runs of white space, so that case and punctuation count there; fewer than `ngram` of them are one shingle.
4. A shingle's hash mixes its words' hashes; a word's hash is a polynomial in its bytes. Integers modulo 2^64
   throughout, all texts of a batch at once.
"""

import functools
import itertools
from collections.abc import Sequence

import numpy as np

_SPACE = 0x20
_LOWER = bytes(byte if byte >= 0x80 or chr(byte).isalnum() or byte == ord("_") else _SPACE for byte in range(256))
_BLOCK_BYTES = 2**18  # words are hashed in blocks that stay in the cache
_BASE = 0x9E3779B97F4A7C15  # odd, hence invertible modulo 2^64


def shingle_hashes(texts: Sequence[str], ngram: int) -> tuple[np.ndarray, np.ndarray]:
    """Hashes [shingles] of all texts, one after another, and offsets [texts + 1], both uint64.

    Every text has at least one shingle; a shingle that occurs twice in a text is there twice.
    """
    words, counts = _words(texts)
    short = counts < ngram
    long_hashes, long_counts = _windows(words, counts, ngram)
    if not short.any():
        return long_hashes, _offsets(long_counts)
    characters, lengths = _characters([text for text, flag in zip(texts, short, strict=True) if flag], ngram)
    short_hashes, short_counts = _windows(characters, lengths, ngram)
    all_counts = long_counts.copy()
    all_counts[short] = short_counts
    from_short = np.repeat(short, all_counts)
    hashes = np.empty(len(from_short), np.uint64)
    hashes[from_short], hashes[~from_short] = short_hashes, long_hashes
    return hashes, _offsets(all_counts)


def mix(values: np.ndarray) -> np.ndarray:
    """A bijection of 64-bit numbers that spreads every bit over all bits (splitmix64's finaliser)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def _words(texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Hashes [words] of the words of all texts, and how many each text has [texts]."""
    encoded = [text.lower().encode() for text in texts]
    data = np.frombuffer(bytearray(b" ".join(encoded).translate(_LOWER)), np.uint8)
    ends = np.cumsum([len(text) + 1 for text in encoded])
    starts = _word_starts(data)
    counts = np.diff(np.searchsorted(starts, ends), prepend=0)
    return _word_hashes(data, starts), counts


def _word_starts(data: np.ndarray) -> np.ndarray:
    """Where words begin [words]. Punctuation of several bytes becomes white space in `data`."""
    alone = np.zeros(0, np.int64)
    if len(data) > 1 and data.max() >= 0xE0:
        leads = np.flatnonzero(data[:-1] >= 0xE0)
        kind = _kinds()[data[leads].astype(np.int64) << 8 | data[leads + 1]]
        for place in range(3):
            data[leads[kind == 2] + place] = _SPACE
        alone = leads[kind == 1]
    filled = data != _SPACE
    begins = filled.copy()
    begins[1:] &= ~filled[:-1]
    begins[alone] = True
    after = alone + 3
    after = after[after < len(data)]
    begins[after] |= filled[after]
    return np.flatnonzero(begins)


@functools.cache
def _kinds() -> np.ndarray:
    """By the first two bytes of a three-byte character: 1 it is a word, 2 it is punctuation, 0 neither."""
    kinds = np.zeros(2**16, np.uint8)
    kinds[0xE300:0xEA00] = 1  # kana, Chinese characters
    for first, last in ((0xE0B8, 0xE0BB), (0xE180, 0xE182), (0xE19E, 0xE19F)):  # Thai and Lao, Burmese, Khmer
        kinds[first : last + 1] = 1
    kinds[[0xE280, 0xE281, 0xE380]] = 2  # general punctuation, CJK punctuation
    return kinds


def _word_hashes(data: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """The sum of coefficient(byte) * base^place for each word; white space between words adds nothing."""
    cuts = np.unique(np.searchsorted(starts, [*range(0, len(data), _BLOCK_BYTES), len(data)]))
    hashes = [np.zeros(0, np.uint64)]
    for first, last in itertools.pairwise(cuts):
        stop = starts[last] if last < len(starts) else len(data)
        hashes.append(_block_hashes(data[starts[first] : stop], starts[first:last] - starts[first]))
    return np.concatenate(hashes)


def _block_hashes(data: np.ndarray, starts: np.ndarray) -> np.ndarray:
    powers, inverses = _powers(max(_BLOCK_BYTES * 2, len(data)))
    terms = _coefficients()[data] * powers[: len(data)]
    return mix(np.add.reduceat(terms, starts) * inverses[starts])


@functools.cache
def _coefficients() -> np.ndarray:
    coefficients = mix(np.arange(1, 257, dtype=np.uint64) * np.uint64(_BASE))
    coefficients[_SPACE] = 0
    return coefficients


@functools.lru_cache(maxsize=1)
def _powers(length: int) -> tuple[np.ndarray, np.ndarray]:
    bases = (_BASE, pow(_BASE, -1, 2**64))
    powers = []
    for base in bases:
        factors = np.full(length, base, np.uint64)
        factors[0] = 1
        powers.append(np.multiply.accumulate(factors))
    return powers[0], powers[1]


def _characters(texts: Sequence[str], ngram: int) -> tuple[np.ndarray, np.ndarray]:
    """Hashes of the characters of all texts, at least `ngram` of each (filled up with U+0000), and how many."""
    lines = [" ".join(text.split()).ljust(ngram, "\0") for text in texts]
    characters = np.frombuffer("".join(lines).encode("utf-32-le"), np.uint32)
    return mix(characters.astype(np.uint64) + np.uint64(2**32)), np.array([len(line) for line in lines])


def _windows(tokens: np.ndarray, counts: np.ndarray, ngram: int) -> tuple[np.ndarray, np.ndarray]:
    """Hashes of all runs of `ngram` tokens within a text, and how many each text has (0 if it is too short)."""
    length = max(len(tokens) - ngram + 1, 0)
    hashes = np.zeros(length, np.uint64)
    for place in range(ngram):
        hashes = hashes * np.uint64(_BASE) + tokens[place : place + length]
    left = np.repeat(np.cumsum(counts), counts)[:length] - np.arange(length)  # tokens of the text from here on
    return mix(hashes[left >= ngram]), np.maximum(counts - ngram + 1, 0)


def _offsets(counts: np.ndarray) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.uint64)
