"""What the rules of `boundaries.cpp` ask about characters, a number for every code point.

Invariant: word and sentence classes are those of the ICU that icu4py brings, asked of that very library; white space,
letters and case are Python's, as `sents.py` and `characters.py` see them.

    bits 0-4    Word_Break, numbered as in ICU's uchar.h
    bits 5-8    Sentence_Break, likewise
    bits 9-11   str.isspace, str.isalnum, str.isupper
    bit 12      Extended_Pictographic
    bit 13      words of its script are found by a dictionary
    bit 14      left free for what boundaries_text.h adds
    bit 15      Chinese or Japanese that ICU's dictionary takes as it is: unchanged by NFKC, and in one UTF-16 unit
"""

import ctypes
import re

import numpy as np

from data_prep.columns.icu import ICU_VERSION, icu_function, is_one_unit

NUM_CODES = 0x110000
_POINTER = ctypes.c_void_p
_WORD_BREAK, _SENTENCE_BREAK, _SCRIPT, _LINE_BREAK = 0x1014, 0x1013, 0x100A, 0x1008
_NFKC_QUICK_CHECK, _COMBINING_CLASS = 0x100F, 0x1002
_NFKC_YES = 1
_EXTENDED_PICTOGRAPHIC = 64
_COMPLEX_CONTEXT = 24  # of Line_Break: Thai, Lao, Khmer, Burmese and their like
_KATAKANA = 3  # of Word_Break
_MIDDLE = (4, 5, 11)  # MidLetter, MidNum, MidNumLet: ICU leaves some out (the colon), so it is asked of each
_DICTIONARY_SCRIPTS = (5, 17, 18, 20, 22)  # Bopomofo, Han, Hangul, Hiragana, Katakana, as in uscript.h
_CJK_SCRIPTS = (17, 20, 22)
_PROLONGED_SOUND = 0x30FC  # common to both kana
_CJK_WORDS = (0, _KATAKANA)  # of Word_Break: not the marks
_SPACE_BIT, _ALNUM_BIT, _UPPER_BIT, _PICTOGRAPH_BIT, DICTIONARY_BIT = range(9, 14)
CJK_BIT = 15


def character_properties() -> np.ndarray:
    """The properties of every code point: [NUM_CODES] uint16. Takes about a tenth of a second."""
    words, scripts = _icu_property(_WORD_BREAK), _icu_property(_SCRIPT)
    dictionary = np.isin(scripts, _DICTIONARY_SCRIPTS) | (words == _KATAKANA)
    dictionary |= _icu_property(_LINE_BREAK) == _COMPLEX_CONTEXT
    _ask_about_middles(words)
    text = np.arange(NUM_CODES, dtype="<u4").tobytes().decode("utf-32-le", "surrogatepass")
    alnum = _found(r"[^\W_]+", text)
    upper = np.zeros(NUM_CODES, np.bool_)
    upper[[code for code in np.flatnonzero(alnum).tolist() if chr(code).isupper()]] = True
    properties = words.astype(np.uint16) | _icu_property(_SENTENCE_BREAK).astype(np.uint16) << 5
    for bit, holds in (
        (_SPACE_BIT, _found(r"\s+", text)),
        (_ALNUM_BIT, alnum),
        (_UPPER_BIT, upper),
        (_PICTOGRAPH_BIT, _icu_binary_property(_EXTENDED_PICTOGRAPHIC)),
        (DICTIONARY_BIT, dictionary),
        (CJK_BIT, _is_plain_cjk(words, scripts)),
    ):
        properties |= holds.astype(np.uint16) << bit
    return properties


def _is_plain_cjk(words: np.ndarray, scripts: np.ndarray) -> np.ndarray:
    """Which code points `CjkWords` knows what to do with: [NUM_CODES] bool."""
    plain = np.isin(scripts, _CJK_SCRIPTS) & np.isin(words, _CJK_WORDS)
    plain[_PROLONGED_SOUND] = True
    plain &= (_icu_property(_NFKC_QUICK_CHECK) == _NFKC_YES) & (_icu_property(_COMBINING_CLASS) == 0)
    plain[0x10000:] = False
    return plain


def _icu_property(number: int) -> np.ndarray:
    """An enumerated property of every code point: [NUM_CODES] uint8."""
    values, value, start = np.zeros(NUM_CODES, np.uint8), ctypes.c_uint32(), 0
    get_range = icu_function("ucpmap_getRange", [_POINTER, *[ctypes.c_uint32] * 3, *[_POINTER] * 3])
    found = _asked_of_icu("u_getIntPropertyMap", number)
    while start < NUM_CODES:
        stop = get_range(found, start, 0, 0, None, None, ctypes.byref(value)) + 1
        values[start:stop] = value.value
        start = stop
    return values


def _icu_binary_property(number: int) -> np.ndarray:
    """A property that code points have or have not: [NUM_CODES] bool."""
    values = np.zeros(NUM_CODES, np.bool_)
    first, last, error = ctypes.c_int32(), ctypes.c_int32(), ctypes.c_int()
    found = _asked_of_icu("u_getBinaryPropertySet", number)
    get_item = icu_function("uset_getItem", [_POINTER, ctypes.c_int32, *[_POINTER] * 3, ctypes.c_int32, _POINTER])
    for item in range(icu_function("uset_getItemCount", [_POINTER])(found)):
        get_item(found, item, *map(ctypes.byref, (first, last)), None, 0, ctypes.byref(error))
        values[first.value : last.value + 1] = True
    return values


def _asked_of_icu(function: str, number: int) -> int:
    """The address of what ICU knows of a property; it stays ICU's."""
    error = ctypes.c_int()
    found = icu_function(function, [ctypes.c_int, _POINTER], _POINTER)(number, ctypes.byref(error))
    if error.value > 0:
        raise OSError(f"ICU {ICU_VERSION} does not know property {number:#x}")
    return found


def _ask_about_middles(words: np.ndarray) -> None:
    """Correct the classes of characters that join letters or numbers to what ICU does with them."""
    middles = np.flatnonzero(np.isin(words, _MIDDLE))
    letters, numbers = (is_one_unit(middles, pattern) for pattern in ("a{}a", "1{}1"))
    mid_letter, mid_number, mid_both = _MIDDLE
    words[middles] = np.select([letters & numbers, letters, numbers], [mid_both, mid_letter, mid_number], 0)


def _found(pattern: str, text: str) -> np.ndarray:
    """Which characters of `text` matches of `pattern` cover: [characters] bool."""
    covered = np.zeros(len(text), np.bool_)
    for match in re.finditer(pattern, text):
        covered[match.start() : match.end()] = True
    return covered
