"""ICU's boundaries of words and sentences, by the rules of the root locale. The only user of icu4py."""

import numpy as np
from icu4py.breakers import BaseBreaker, SentenceBreaker, WordBreaker

from data_prep.columns.characters import Characters, marked

_LOCALE = "root"


def icu_words(text: str) -> np.ndarray:
    """Which characters begin a word or whatever stands between words: [characters] uint8."""
    return marked(_places(WordBreaker(text, _LOCALE), Characters.of(text)), len(text))


def icu_sentences(text: str, characters: Characters) -> np.ndarray:
    """The places where sentences of `text` begin, ascending; `characters` are as wide as those of `text`."""
    return _places(SentenceBreaker(text, _LOCALE), characters)


def _places(breaker: BaseBreaker, characters: Characters) -> np.ndarray:
    starts = np.array([start for start, _ in breaker.segments()], np.int64)
    in_utf16 = characters.utf16_places
    return starts if in_utf16 is None else np.searchsorted(in_utf16, starts)
