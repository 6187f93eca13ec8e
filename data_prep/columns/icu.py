"""ICU's boundaries of words and sentences, by the rules of the root locale. The only user of icu4py.

What icu4py does not offer is asked of the ICU library that it brings, through `icu_function`.
"""

import ctypes
import functools
from typing import Any

import icu4py
import numpy as np
from icu4py import breakers
from icu4py.breakers import BaseBreaker, SentenceBreaker, WordBreaker

from data_prep.columns.characters import Characters, marked

ICU_VERSION = icu4py.icu_version
_LOCALE = "root"
_UBRK_WORD = 1
_UCHARS_TRIE_WITH_VALUES = 9
_POINTER = ctypes.c_void_p


def icu_words(text: str) -> np.ndarray:
    """Which characters begin a word or whatever stands between words: [characters] uint8."""
    return marked(_places(WordBreaker(text, _LOCALE), Characters.of(text)), len(text))


def icu_sentences(text: str, characters: Characters) -> np.ndarray:
    """The places where sentences of `text` begin, ascending; `characters` are as wide as those of `text`."""
    return _places(SentenceBreaker(text, _LOCALE), characters)


def is_one_unit(codes: np.ndarray, pattern: str) -> np.ndarray:
    """Whether ICU leaves `pattern` uncut with each character in the place of `{}`: [codes] bool."""
    lines = [pattern.format(chr(code), chr(code)) + "\n" for code in codes.tolist()]  # every line is for itself
    starts = icu_words("".join(lines)).reshape(len(lines), -1)
    return starts[:, 1:-1].sum(axis=1) == 0


def icu_function(name: str, arguments: list[Any], result: Any = ctypes.c_int32) -> Any:
    """A C function of the ICU that icu4py is linked with; its names end with the version there."""
    function = getattr(ctypes.CDLL(breakers.__file__), f"{name}_{ICU_VERSION.partition('.')[0]}")
    function.argtypes, function.restype = arguments, result
    return function


@functools.cache
def icu_word_iterator() -> tuple[int, int, int]:
    """Addresses of a word iterator, of what sets its text, and of what gives the next boundary (see ICU's ubrk.h)."""
    error = ctypes.c_int()
    arguments = [ctypes.c_int, ctypes.c_char_p, _POINTER, ctypes.c_int32, _POINTER]
    opened = icu_function("ubrk_open", arguments, _POINTER)(_UBRK_WORD, _LOCALE.encode(), None, 0, ctypes.byref(error))
    if error.value > 0:
        raise OSError(f"ICU {ICU_VERSION} has no rules for words: error {error.value}")
    functions = (icu_function(name, []) for name in ("ubrk_setText", "ubrk_next"))
    return opened, *(ctypes.cast(function, _POINTER).value for function in functions)


@functools.cache
def icu_cjk_dictionary() -> int | None:
    """The address of ICU's words of Chinese and Japanese, a serialized UCharsTrie with values; None: it is none.

    Source: `DictionaryData` in ICU's dictionarydata.h.
    """
    error, name = ctypes.c_int(), f"icudt{ICU_VERSION.partition('.')[0]}l-brkitr"
    open_data = icu_function("udata_open", [ctypes.c_char_p] * 3 + [_POINTER], _POINTER)
    opened = open_data(name.encode(), b"dict", b"cjdict", ctypes.byref(error))
    if error.value > 0:
        return None
    address = icu_function("udata_getMemory", [_POINTER], _POINTER)(opened)
    indexes = (ctypes.c_int32 * 8).from_address(address)
    return address + indexes[0] if indexes[4] == _UCHARS_TRIE_WITH_VALUES else None


def _places(breaker: BaseBreaker, characters: Characters) -> np.ndarray:
    starts = np.array([start for start, _ in breaker.segments()], np.int64)
    in_utf16 = characters.utf16_places
    return starts if in_utf16 is None else np.searchsorted(in_utf16, starts)
