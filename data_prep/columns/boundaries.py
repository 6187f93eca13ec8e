"""`boundaries.cpp`: which tokens begin a word or a sentence, for many texts in one call.

Invariant: the marks are those of `words.py`, `sents.py` and `characters.py`, which are the specification. They do the
work where this cannot: without a compiler, for segmenters of other packages, and for an ICU with other rules (a sample
of all pairs of character classes is compared first).

Words of scripts that are written without spaces need a dictionary. Chinese and Japanese are looked up in ICU's here, as
ICU does it (compared at first as well); for lines with other such scripts or rare characters, ICU itself is called.
"""

import ctypes
import functools
import itertools
import weakref
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from data_prep import native
from data_prep.columns.characters import Characters
from data_prep.columns.icu import icu_cjk_dictionary, icu_sentences, icu_word_iterator, icu_words
from data_prep.columns.properties import CJK_BIT, DICTIONARY_BIT, character_properties
from data_prep.columns.sents import ABBREVIATIONS

SOURCE = Path(__file__).with_name("boundaries.cpp")
WORD_KINDS = {None: 0, "unicode": 1, "whitespace": 2}
WORD_START, SENTENCE_START, CONTINUATION = 1, 2, 8  # Mark in boundaries_text.h
_ROOM_MARKS = 8  # kMarksRoom in boundaries_tokens.h
_POINTER, _INT64, _INT32 = ctypes.c_void_p, ctypes.c_int64, ctypes.c_int32


class Boundaries:
    """Finds words of kind `words` and sentences of kind `sents` (None: none). Not for several threads at a time.

    `dictionary` is `icu_cjk_dictionary`'s; without it, ICU itself looks Chinese and Japanese up.
    """

    def __init__(
        self, library: ctypes.CDLL, words: str | None, sents: str | None, dictionary: int | None = None
    ) -> None:
        self._library = library
        self._words, self._sents = WORD_KINDS[words], sents is not None
        self._handle = library.boundaries_new(
            _properties().ctypes.data,
            sents == "rules",
            " ".join(sorted(ABBREVIATIONS)).encode(),
            max(map(len, ABBREVIATIONS)),
            *icu_word_iterator(),
            dictionary,
        )
        if not self._handle:
            raise MemoryError
        weakref.finalize(self, library.boundaries_delete, self._handle)

    def of_tokens(
        self, texts: Sequence[bytes], token_ids: Sequence[np.ndarray], piece_bytes: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray] | None:
        """Which tokens begin a word, and which a sentence: each [tokens of all] uint8.

        `texts` are UTF-8, `piece_bytes` int32 [vocabulary]. None where the tokens of a text do not add up to its bytes.
        """
        data, ends = b"".join(texts), np.cumsum([len(text) for text in texts], dtype=np.int64)
        marks = self.marks(data, ends)
        ids = np.concatenate(token_ids).astype(np.int32, copy=False)
        token_ends = np.cumsum([len(part) for part in token_ids], dtype=np.int64)
        words, sents = np.empty(len(ids), np.uint8), np.empty(len(ids), np.uint8)
        unfit = self._library.boundaries_tokens(
            data,
            marks.ctypes.data,
            ends.ctypes.data,
            len(ends),
            ids.ctypes.data,
            token_ends.ctypes.data,
            piece_bytes.ctypes.data,
            words.ctypes.data,
            sents.ctypes.data,
        )
        if unfit < 0:
            raise MemoryError
        return None if unfit else (words, sents)

    def marks(self, data: bytes, ends: np.ndarray) -> np.ndarray:
        """Marks on the bytes of the texts, `data`: [bytes] uint8 of WORD_START, SENTENCE_START and others."""
        marks = np.empty(len(data) + _ROOM_MARKS, np.uint8)[: len(data)]
        failed = self._library.boundaries_mark(
            self._handle, data, ends.ctypes.data, len(ends), self._words, self._sents, marks.ctypes.data
        )
        if failed:
            raise MemoryError
        return marks


@functools.cache
def boundaries(words: str | None, sents: str | None) -> Boundaries | None:
    """What finds these kinds of words and sentences; None where the Python code must."""
    library = native_library() if words in WORD_KINDS else None
    if library is None or not _rules_are_those_of_icu():
        return None
    return Boundaries(library, words, sents, _dictionary())


@functools.cache
def native_library() -> ctypes.CDLL | None:
    """`boundaries.cpp`, built if need be; None without a compiler."""
    return declared(native.load(SOURCE))


def declared(library: ctypes.CDLL | None) -> ctypes.CDLL | None:
    """The library with the types of its functions."""
    if library is None:
        return None
    library.boundaries_new.restype = _POINTER
    library.boundaries_new.argtypes = [_POINTER, _INT32, ctypes.c_char_p, _INT64, *[_POINTER] * 4]
    library.boundaries_delete.argtypes = [_POINTER]
    library.boundaries_mark.restype = _INT64
    library.boundaries_mark.argtypes = [_POINTER, ctypes.c_char_p, _POINTER, _INT64, _INT32, _INT32, _POINTER]
    library.boundaries_tokens.restype = _INT64
    library.boundaries_tokens.argtypes = [ctypes.c_char_p, _POINTER, _POINTER, _INT64, *[_POINTER] * 5]
    return library


@functools.cache
def _rules_are_those_of_icu() -> bool:
    """Whether characters of all classes, side by side, get the same marks as from the ICU that is installed."""
    library = native_library()
    assert library is not None
    text = _sample()
    data, characters = text.encode(), Characters.of(text)
    marks = Boundaries(library, "unicode", "unicode").marks(data, np.array([len(data)]))
    marks = marks[marks & CONTINUATION == 0]
    same_sentences = np.array_equal(np.flatnonzero(marks & SENTENCE_START), icu_sentences(text, characters))
    return same_sentences and np.array_equal(marks & WORD_START, icu_words(text))


@functools.cache
def _dictionary() -> int | None:
    """The dictionary, where words found with it here are those that ICU finds."""
    library, found = native_library(), icu_cjk_dictionary()
    assert library is not None
    if found is None:
        return None
    text = _cjk_sample()
    data = text.encode()
    marks = Boundaries(library, "unicode", None, found).marks(data, np.array([len(data)]))
    return found if np.array_equal(marks[marks & CONTINUATION == 0] & WORD_START, icu_words(text)) else None


def _cjk_sample() -> str:
    """Chinese and Japanese: every fifth character once, katakana of all lengths, and a sentence of each."""
    codes = np.flatnonzero(_properties() >> CJK_BIT)[::5].tolist()
    lines = ["".join(map(chr, codes[first : first + 40])) for first in range(0, len(codes), 40)]
    katakana = ["カ" * length + "の" for length in range(1, 25)]
    sentences = ["人人生而自由，在尊严和权利上一律平等。", "東京都でソフトウェアを使う人々は、すべて平等である。"]
    return "\n".join([*lines, *katakana, *sentences])


def _sample() -> str:
    """Two characters of any two classes between letters, numbers and sentences, a line each."""
    properties, dictionary = _properties(), np.uint16(1 << DICTIONARY_BIT)
    _, firsts = np.unique(properties, return_index=True)
    codes = [int(code) for code in firsts if not properties[code] & dictionary and not 0xD800 <= code < 0xE000]
    pairs = [chr(left) + chr(right) for left, right in itertools.product(codes, repeat=2)]
    return "".join(f"a{pair}b\n1{pair}2\nC. {pair}d\n" for pair in pairs)


@functools.cache
def _properties() -> np.ndarray:
    return character_properties()
