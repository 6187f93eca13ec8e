"""Where sentences begin.

- `unicode`: the sentence boundaries of Unicode (UAX #29) as ICU finds them; every line's end is one.
- `rules`: the same for running text. A line's end before a letter or a digit is a space (wrapped text); a blank line,
  an indented line or a list item still begins a sentence. No sentence ends after an initial ("J. Doe") or a common
  abbreviation before a name or a number ("Dr. Who", "Abb. 3").

Source: Unicode Standard Annex #29, rules SB3 to SB11 (https://www.unicode.org/reports/tr29/).
"""

import functools
import re
from typing import Literal

import numpy as np

from data_prep.columns.characters import BLANK_LINE, Anchors, Characters, Texts
from data_prep.columns.icu import icu_sentences

SentenceKind = Literal["rules", "unicode"]
_WRAPPED_LINE = re.compile(r"\n(?<!\n\n)(?=[^\W_])")
# English, German, French, Spanish, Italian, Dutch, Polish, Russian; as they are spelled inside a sentence.
_ABBREVIATION_LIST = (
    "Mr Mrs Ms Dr Prof St Mt Gen Col Capt Lt Sgt Rev Hon Sen Rep Gov Messrs vs Fig Figs Eq Eqs Sec Ch Vol No Nos Art "
    "pp cf approx Hr Fr Nr Abb Abs Bd Kap Str Tab bzw ca evtl ggf inkl sog vgl MM Mme Mlle Mgr Sra Srta Dra Ud Uds "
    "sig dott avv dhr mevr nr str ul prof inż г ул см им стр"
)
ABBREVIATIONS = frozenset(_ABBREVIATION_LIST.split())
_LONGEST_WORD = max(map(len, ABBREVIATIONS))
_BREAKS = re.compile(r"[^\w]+")


def sentence_places(texts: Texts, kind: SentenceKind) -> np.ndarray:
    """Where sentences begin, in characters, ascending: [sentences] int64. Every text begins one."""
    characters = texts.characters
    if kind == "unicode":
        return icu_sentences(characters.text, characters)
    places = icu_sentences(BLANK_LINE.join(map(_unwrapped, texts.texts)), characters)
    return places[~_after_abbreviation(characters, places)]


def sentence_starts(places: np.ndarray, anchored: Anchors) -> np.ndarray:
    """Which tokens begin a sentence: [tokens] uint8, the first always; white space alone belongs to the one before."""
    starts = np.zeros(len(anchored.places) + 1, np.uint8)  # the last is for sentences that no token begins
    starts[anchored.firsts] = 1
    starts[np.searchsorted(anchored.places_of_text(), places)] = 1
    return starts[:-1]


def _unwrapped(text: str) -> str:
    """As many characters, with a space for each line's end inside a paragraph."""
    return _WRAPPED_LINE.sub(" ", text.replace("\r\n", " \n")) if "\n" in text else text


def _after_abbreviation(characters: Characters, places: np.ndarray) -> np.ndarray:
    """Before which of the places the sentence does not end: [places] bool.

    Looks at the ASCII letters, digits and `_` before the dot as one number, and `_goes_on` at everything else.
    """
    codes, found = characters.codes, np.zeros(len(places), bool)
    later = np.flatnonzero(places >= 3)
    candidates = later[codes[places[later] - 2] == ord(".")]
    before = places[candidates][:, None] - 3 - np.arange(_LONGEST_WORD + 1)  # from the dot backwards
    window = np.where(before >= 0, codes[np.maximum(before, 0)], ord(" "))
    in_word = np.logical_and.accumulate(_word_table().take(np.minimum(window, 128)), axis=1)
    keys = (np.where(in_word, window, 0).astype(np.int64) << (8 * np.arange(_LONGEST_WORD + 1))).sum(axis=1)
    found[candidates] = np.isin(keys, _abbreviation_keys())
    if not characters.is_ascii:
        for number in np.flatnonzero((window > 127).any(axis=1)).tolist():
            found[candidates[number]] = _goes_on(characters.text, int(places[candidates[number]]))
    return found


@functools.cache
def _word_table() -> np.ndarray:
    """Which characters below 128 belong to words, and that 128 does not: [129] bool."""
    return np.array([chr(code).isalnum() or code == ord("_") for code in range(128)] + [False])


@functools.cache
def _abbreviation_keys() -> np.ndarray:
    """The abbreviations and initials of ASCII, each as a number, the last letter lowest."""
    initials = {chr(code) for code in range(ord("A"), ord("Z") + 1)} - {"I"}
    spelled = [word.encode() for word in ABBREVIATIONS | initials if word.isascii()]
    return np.array(sorted(int.from_bytes(word, "big") for word in spelled), np.int64)


def _goes_on(text: str, start: int) -> bool:
    """Whether the word before a dot and one more character before `start` is an initial or an abbreviation."""
    stop = start - 2
    word = text[text.rfind(" ", max(stop - _LONGEST_WORD - 2, 0), stop) + 1 : stop][-_LONGEST_WORD - 2 :]
    if not word.isalnum():
        word = _BREAKS.split(word)[-1]
    return word in ABBREVIATIONS or (len(word) == 1 and word.isupper() and word != "I")
