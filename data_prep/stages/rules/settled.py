"""Whether a text needs any of the repairs in `repair.py`, told by one look at its bytes (`repair_scan.cpp`).

Invariant: where there is an answer, it is that of `settle`.

1. The scan finds control characters, pairs that could be mojibake, and characters that normalisation could change.
2. Of a few such pairs ftfy is asked, as `repair.py` does; with many, or where characters are no UTF-16 units,
   `repair.py` itself.
"""

import ctypes
import functools
import re
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from data_prep import native
from data_prep.stages.rules.repair import CONTROLS, FIRST, FTFY, REACH, SECOND, Form, is_bad_near, repair_mojibake

SOURCE = Path(__file__).with_name("repair_scan.cpp")
_CONTROL, _MOJIBAKE = 1, 2  # Need in repair_scan.cpp
_TO_NORMALIZE: dict[Form, int] = {"NFC": 4, "NFKC": 8}
_MOST_PAIRS = 32  # kMostPairs in repair_scan.cpp
_HANGUL_JAMO = [*range(0x1161, 0x1176), *range(0x11A8, 0x11C3)]  # those that join the syllable before them
_NUM_UNITS = 2**16
_SURROGATES = range(0xD800, 0xE000)


def quickly_settled(text: str, utf8: bytes, form: Form | None, mojibake: bool = True) -> str | None:
    """What `settle` makes of the text (`utf8`: its bytes), where that is quickly told: itself or its normal form."""
    library = native_library()
    if library is None:
        return None
    found = (ctypes.c_int32 * (2 + _MOST_PAIRS))()
    needs = library.repair_needs(utf8, len(utf8), *_table_addresses(), found)
    if needs & _CONTROL:
        return None
    if mojibake and needs & _MOJIBAKE and not _are_innocent(text, list(found)) and repair_mojibake(text) != text:
        return None
    if form is None or not needs & _TO_NORMALIZE[form] or unicodedata.is_normalized(form, text):
        return text
    normal = unicodedata.normalize(form, text)
    return quickly_settled(normal, normal.encode(), form, mojibake)


def _are_innocent(text: str, pairs: Sequence[int]) -> bool:
    """Whether ftfy leaves all pairs alone that look like mojibake. `pairs`: see Pairs in repair_scan.cpp."""
    num_pairs, num_units, *places = pairs
    if num_pairs > _MOST_PAIRS or num_units != len(text) or num_units >= FTFY.max_decode_length:
        return False
    starts = ((place, place - REACH - 1) for place in places[:num_pairs])
    nears = (("" if start >= 0 else "\n") + text[max(start, 0) : place + REACH + 1] for place, start in starts)
    return not any(map(is_bad_near, nears))


@functools.cache
def native_library() -> ctypes.CDLL | None:
    """`repair_scan.cpp`, built if need be; None without a compiler."""
    library = native.load(SOURCE)
    if library is not None:
        pointer = ctypes.c_void_p
        library.repair_needs.argtypes = [ctypes.c_char_p, ctypes.c_int64, *[pointer] * 4]
    return library


@functools.cache
def _tables() -> tuple[np.ndarray, ...]:
    return FIRST, SECOND, _needs_of_units()


@functools.cache
def _table_addresses() -> tuple[int, ...]:
    return tuple(table.ctypes.data for table in _tables())


def _needs_of_units() -> np.ndarray:
    """What UTF-16 units may need for themselves, or beside others: [65536] uint8, sums of `Need`."""
    needs = np.zeros(_NUM_UNITS, np.uint8)
    needs[[ord(found) for found in re.findall(f"[\r\u2028\u2029{CONTROLS}]", "".join(_characters()))]] |= _CONTROL
    needs[_SURROGATES] = 0  # in valid UTF-8 they are halves of characters
    others = [character for character in _characters() if character != "\n"]
    for form, need in _TO_NORMALIZE.items():
        alone = unicodedata.normalize(form, "\n".join(others)).split("\n")
        changed = [ord(before) for before, after in zip(others, alone, strict=True) if before != after]
        needs[[*changed, *_SURROGATES, *_joining()]] |= need
    return needs


def _joining() -> Iterator[int]:
    """Characters that may change place or become one with a character before them."""
    yield from _HANGUL_JAMO
    for character in _characters():
        if unicodedata.combining(character):
            yield ord(character)
        parts = unicodedata.decomposition(character).split()
        if len(parts) == 2 and not parts[0].startswith("<") and (second := int(parts[1], 16)) < _NUM_UNITS:
            yield second


def _characters() -> Iterator[str]:
    return map(chr, range(_NUM_UNITS))
