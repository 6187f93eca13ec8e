"""Where words begin. Every character belongs to one unit: a word, a run of white space, or another sign.

- `whitespace`: maximal runs of white space and of everything else.
- `unicode`: the word boundaries of Unicode (UAX #29) as ICU finds them, with its dictionaries for scripts that write
  no spaces (Chinese, Japanese, Thai, Lao, Khmer, Burmese). A run of such a script is cut by its own dictionary, so
  mixed texts need no setting.
- any other name: a segmenter that an installed package offers under the entry point group `spanwright.words`, a
  function from a text to the list of its units (joined, they are the text).

ICU takes 40 ms for 1 MB of English. So `_fast_starts` repeats its rules with NumPy for characters whose boundaries
depend on at most one neighbour on each side (Latin, Greek, Cyrillic, Armenian, Arabic letters, digits, punctuation).
What a character does there is found by asking ICU itself. Blocks of lines with any other character go to ICU.

Source: Unicode Standard Annex #29, rules WB3 to WB13 (https://www.unicode.org/reports/tr29/).
"""

import functools
from collections.abc import Callable, Iterator
from importlib.metadata import entry_points

import numpy as np

from data_prep.columns.characters import Characters, Texts, marked
from data_prep.columns.icu import icu_words
from data_prep.errors import InputError

PLUGINS = "spanwright.words"
_BLOCK_CHARS = 2**13

# What a character does to the boundaries around it. From MID_LETTER on, the characters on both sides decide.
COMPLEX, OTHER, LETTER, NUMERIC, JOINER, SPACE, CR, LF, MID_LETTER, MID_NUMBER, MID_BOTH = range(11)
_FAST_RANGES = ((0, 0x590), (0x600, 0x700), (0x1E00, 0x2800))
_TABLE_SIZE = 0x2800

Segmenter = Callable[[str], list[str]]


def word_starts(texts: Texts, kind: str) -> np.ndarray:
    """Which characters begin a unit: [characters] uint8."""
    characters = texts.characters
    if kind == "whitespace":
        return _whitespace_starts(characters)
    if kind == "unicode":
        if characters.is_ascii:
            return _joined_starts(np.frombuffer(characters.data.translate(_ascii_classes()), np.uint8))
        parts = [_block_starts(*block) for block in _blocks(characters)]
        return np.concatenate(parts)
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


def _blocks(characters: Characters) -> Iterator[tuple[str, np.ndarray]]:
    """The text in blocks that end after a line: no rule looks across a line's end, and arrays stay small."""
    start, text = 0, characters.text
    while start < len(text):
        stop = text.find("\n", start + _BLOCK_CHARS) + 1 or len(text)
        yield text[start:stop], characters.codes[start:stop]
        start = stop


def _block_starts(text: str, codes: np.ndarray) -> np.ndarray:
    starts = _fast_starts(codes)
    return icu_words(text) if starts is None else starts


def _fast_starts(codes: np.ndarray) -> np.ndarray | None:
    """The same as `icu_words`; None where a character needs more than its neighbours."""
    if codes.max() >= _TABLE_SIZE:
        return None
    classes = _classes().take(codes)
    return _joined_starts(classes) if classes.all() else None


def _joined_starts(classes: np.ndarray) -> np.ndarray:
    """Which characters of these classes begin a unit: [characters] uint8."""
    starts = np.ones(len(classes), np.uint8)
    if len(classes) < 2:
        return starts
    pairs = classes[:-1] * 16 + classes[1:]
    starts[1:] = np.frombuffer(pairs.tobytes().translate(_PAIR_BREAKS), np.uint8)
    middle = np.flatnonzero(classes[1:-1] >= MID_LETTER) + 1
    before, own, after = classes[middle - 1], classes[middle], classes[middle + 1]
    between_letters = (before == LETTER) & (after == LETTER) & (own != MID_NUMBER)
    between_numbers = (before == NUMERIC) & (after == NUMERIC) & (own != MID_LETTER)
    joined = middle[between_letters | between_numbers]
    starts[joined] = starts[joined + 1] = 0
    return starts


def _pair_breaks() -> bytes:
    """Whether there is a boundary between two characters of given classes: 16 x 16 bytes."""
    breaks = np.ones((16, 16), np.uint8)
    breaks[LETTER : JOINER + 1, LETTER : JOINER + 1] = 0  # WB5, 8, 9, 10, 13a, 13b
    breaks[SPACE, SPACE] = breaks[CR, LF] = 0  # WB3d, WB3
    return breaks.tobytes()


_PAIR_BREAKS = _pair_breaks()


@functools.cache
def _classes() -> np.ndarray:
    """The class of each character below `_TABLE_SIZE`: [_TABLE_SIZE] uint8, from what ICU does with small texts."""
    table = np.full(_TABLE_SIZE, COMPLEX, np.uint8)
    codes = np.concatenate([np.arange(*bounds) for bounds in _FAST_RANGES])
    with_letter, with_joiner, between_letters, between_numbers, after_sign, twice = (
        _is_one_unit(codes, pattern) for pattern in ("a{}", "_{}", "a{}a", "1{}1", "!{}", "{}{}")
    )
    table[codes] = OTHER
    table[codes[twice]] = COMPLEX  # whatever clings to itself, unless it is one of the following
    apostrophe_letters, apostrophe_numbers = _is_one_unit(codes, "a'{}"), _is_one_unit(codes, "1'{}")
    table[codes[with_letter & apostrophe_letters]] = LETTER
    table[codes[with_letter & apostrophe_numbers]] = NUMERIC
    table[codes[with_letter & with_joiner & ~apostrophe_letters & ~apostrophe_numbers]] = JOINER
    middle = ~with_letter & (between_letters | between_numbers)
    table[codes[middle]] = MID_BOTH
    table[codes[middle & ~between_numbers]] = MID_LETTER
    table[codes[middle & ~between_letters]] = MID_NUMBER
    table[codes[_is_one_unit(codes, " {}") & twice]] = SPACE
    table[codes[after_sign]] = COMPLEX  # marks and format characters: they join whatever they follow
    table[[ord("\r"), ord("\n")]] = CR, LF
    return table


@functools.cache
def _ascii_classes() -> bytes:
    """The classes of ASCII as a table for `bytes.translate`."""
    return _classes()[:256].tobytes()


def _is_one_unit(codes: np.ndarray, pattern: str) -> np.ndarray:
    """Whether ICU leaves `pattern` uncut with each character in the place of `{}`: [codes] bool."""
    lines = [pattern.format(chr(code), chr(code)) + "\n" for code in codes.tolist()]  # every line is for itself
    starts = icu_words("".join(lines)).reshape(len(lines), -1)
    return starts[:, 1:-1].sum(axis=1) == 0
