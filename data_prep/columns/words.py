"""Where words begin. Every character belongs to one unit: a word, a run of white space, or another sign.

- `whitespace`: maximal runs of white space and of everything else.
- `unicode`: the word boundaries of Unicode (UAX #29) as ICU finds them, with its dictionaries for scripts that write
  no spaces (Chinese, Japanese, Thai, Lao, Khmer, Burmese). A run of such a script is cut by its own dictionary, so
  mixed texts need no setting.
- any other name: a segmenter that an installed package offers under the entry point group `spanwright.words`, a
  function from a text to the list of its units (joined, they are the text).

`boundaries.cpp` repeats ICU's rules, several times as fast; this is its specification.

Source: Unicode Standard Annex #29, rules WB3 to WB16 (https://www.unicode.org/reports/tr29/).
"""

from collections.abc import Callable
from importlib.metadata import entry_points

import numpy as np

from data_prep.columns.characters import Characters, Texts, marked
from data_prep.columns.icu import icu_words
from data_prep.errors import InputError

PLUGINS = "spanwright.words"

Segmenter = Callable[[str], list[str]]


def word_starts(texts: Texts, kind: str) -> np.ndarray:
    """Which characters begin a unit: [characters] uint8."""
    characters = texts.characters
    if kind == "whitespace":
        return _whitespace_starts(characters)
    if kind == "unicode":
        return icu_words(characters.text)
    return _plugin_starts(texts, kind, plugin(kind))


def plugin(name: str) -> Segmenter:
    """The segmenter that an installed package offers under `name`; InputError when none does."""
    offered = {found.name: found for found in entry_points(group=PLUGINS)}
    if name not in offered:
        known = ", ".join(["whitespace", "unicode", *sorted(offered)])
        raise InputError(f"data.columns.words: no segmenter {name!r}; known: {known} (entry points of {PLUGINS!r})")
    return offered[name].load()


def _whitespace_starts(characters: Characters) -> np.ndarray:
    starts = np.ones(len(characters.text), np.uint8)
    starts[1:] = characters.blank[1:-1] != characters.blank[:-2]
    return starts


def _plugin_starts(texts: Texts, name: str, segment: Segmenter) -> np.ndarray:
    starts = np.ones(len(texts.characters.text), np.uint8)
    for text, begin in zip(texts.texts, texts.begins.tolist(), strict=True):
        units = segment(text)
        if "".join(units) != text:
            message = f"data.columns.words: the segmenter {name!r} changed the text: its units do not join to it"
            raise InputError(message)
        stops = np.cumsum([0, *map(len, units)], dtype=np.int64)
        starts[begin : begin + len(text)] = marked(np.unique(stops[stops < len(text)]), len(text))
    return starts
