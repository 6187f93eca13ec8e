"""Where sentences begin.

- `unicode`: the sentence boundaries of Unicode (UAX #29) as ICU finds them; every line's end is one.
- `rules`: the same for running text. A line's end before a letter or a digit is a space (wrapped text); a blank line,
  an indented line or a list item still begins a sentence. No sentence ends after an initial ("J. Doe") or a common
  abbreviation before a name or a number ("Dr. Who", "Abb. 3").

Source: Unicode Standard Annex #29, rules SB3 to SB11 (https://www.unicode.org/reports/tr29/).
"""

import re
from typing import Literal

import numpy as np

from data_prep.columns.characters import Anchors, Characters
from data_prep.columns.icu import icu_sentences

_WRAPPED_LINE = re.compile(r"\n(?<!\n\n)(?=[^\W_])")
# English, German, French, Spanish, Italian, Dutch, Polish, Russian; as they are spelled inside a sentence.
_ABBREVIATION_LIST = (
    "Mr Mrs Ms Dr Prof St Mt Gen Col Capt Lt Sgt Rev Hon Sen Rep Gov Messrs vs Fig Figs Eq Eqs Sec Ch Vol No Nos Art "
    "pp cf approx Hr Fr Nr Abb Abs Bd Kap Str Tab bzw ca evtl ggf inkl sog vgl MM Mme Mlle Mgr Sra Srta Dra Ud Uds "
    "sig dott avv dhr mevr nr str ul prof inż г ул см им стр"
)
_ABBREVIATIONS = frozenset(_ABBREVIATION_LIST.split())
_LONGEST_WORD = max(map(len, _ABBREVIATIONS))
_BREAKS = re.compile(r"[^\w]+")


def sentence_places(characters: Characters, kind: Literal["unicode", "rules"]) -> list[int]:
    """Where sentences begin, in characters, ascending; 0 is the first where there is any text."""
    text = characters.text
    if kind == "unicode":
        return icu_sentences(text, characters)
    starts = icu_sentences(_unwrapped(text), characters)
    return [start for start in starts if start < 3 or text[start - 2] != "." or not _goes_on(text, start)]


def sentence_starts(places: list[int], anchored: Anchors) -> np.ndarray:
    """Which tokens begin a sentence: [tokens] uint8, the first always; white space alone belongs to the one before."""
    starts = np.zeros(len(anchored.places) + 1, np.uint8)  # the last is for sentences that no token begins
    starts[0] = 1
    starts[np.searchsorted(anchored.places_of_text(), places)] = 1
    return starts[:-1]


def _unwrapped(text: str) -> str:
    """As many characters, with a space for each line's end inside a paragraph."""
    return _WRAPPED_LINE.sub(" ", text.replace("\r\n", " \n")) if "\n" in text else text


def _goes_on(text: str, start: int) -> bool:
    """Whether the word before a dot and one more character before `start` is an initial or an abbreviation."""
    stop = start - 2
    word = text[text.rfind(" ", max(stop - _LONGEST_WORD - 2, 0), stop) + 1 : stop][-_LONGEST_WORD - 2 :]
    if not word.isalnum():
        word = _BREAKS.split(word)[-1]
    return word in _ABBREVIATIONS or (len(word) == 1 and word.isupper() and word != "I")
