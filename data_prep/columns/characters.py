"""Characters and tokens of documents: from places in the text to columns, one number per token.

A token stands for its *anchor*: the first of its characters that is not white space, or its first character where it
has no other. So "▁word" belongs to "word" and not to what comes before the space; a single space before a word belongs
to it as well when it is a token of its own. A token begins a unit (a word, a sentence) where a unit begins after the
anchor of the token before, up to its own.

Small documents are handled together, as one text with blank lines between them: what a call costs is paid once. No rule
looks across a blank line; tokens keep to their documents by `Texts.begins` and `Texts.ends`.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

BLANK_LINE = "\n\n"
_SPACE = 0x20
_LAST_SPACE = 0x3000  # the highest white space of Unicode
_LAST_SINGLE = 0xFFFF  # UTF-16 has two units for a character beyond
_ASCII_SPACES = bytes(chr(code).isspace() for code in range(256))


@dataclass(frozen=True)
class Characters:
    """A text as numbers: its code points, [characters] uint8 (ASCII) or uint32, from the bytes in `data`."""

    text: str
    data: bytes
    codes: np.ndarray

    @classmethod
    def of(cls, text: str) -> "Characters":
        """The code points of `text`."""
        ascii_only = text.isascii()
        data = text.encode("ascii" if ascii_only else "utf-32-le")
        return cls(text, data, np.frombuffer(data, np.uint8 if ascii_only else np.uint32))

    @property
    def is_ascii(self) -> bool:
        """Whether every code point is below 128."""
        return self.codes.dtype == np.uint8

    @functools.cached_property
    def blank(self) -> np.ndarray:
        """Which characters are white space, and False for the end: [characters + 1] bool."""
        if self.is_ascii:
            return np.frombuffer(self.data.translate(_ASCII_SPACES) + b"\0", np.bool_)
        return np.concatenate((_spaces().take(np.minimum(self.codes, _LAST_SPACE + 1)), [False]))

    @functools.cached_property
    def utf16_places(self) -> np.ndarray | None:
        """Where each character begins in UTF-16: [characters] int64; None where that is its own place."""
        if self.is_ascii or not (double := self.codes > _LAST_SINGLE).any():
            return None
        return np.arange(len(self.codes)) + np.cumsum(double) - double


@dataclass(frozen=True)
class Texts:
    """Texts, and all of them as one."""

    texts: Sequence[str]

    @functools.cached_property
    def characters(self) -> Characters:
        """All of them, joined by blank lines."""
        return Characters.of(BLANK_LINE.join(self.texts))

    @functools.cached_property
    def begins(self) -> np.ndarray:
        """Where each begins: [texts] int64."""
        return self.ends - [len(text) for text in self.texts]

    @functools.cached_property
    def ends(self) -> np.ndarray:
        """Where each ends: [texts] int64."""
        lengths = np.array([len(text) + len(BLANK_LINE) for text in self.texts], np.int64)
        return np.cumsum(lengths) - len(BLANK_LINE)


@dataclass(frozen=True)
class Anchors:
    """Where tokens are anchored, and which of them are white space alone."""

    places: np.ndarray  # [tokens] int64, never descending
    blank_tokens: np.ndarray  # their numbers, ascending
    firsts: np.ndarray  # numbers of the tokens that are the first of their text, ascending
    begins: np.ndarray  # where the text of each blank token begins

    def places_of_text(self) -> np.ndarray:
        """The places, but white space alone stands where the token before it does: [tokens] int64."""
        if not len(self.blank_tokens):
            return self.places
        places = self.places.copy()
        places[self.blank_tokens] = self.begins
        return np.maximum.accumulate(places)


def anchors(texts: Texts, token_starts: np.ndarray, num_tokens: Sequence[int]) -> Anchors:
    """The anchors of tokens that begin at `token_starts`, ascending; the bytes of one character share its place.

    `num_tokens` is how many of them each text has.
    """
    blank, codes = texts.characters.blank, texts.characters.codes
    counts = np.asarray(num_tokens)
    text_of = np.repeat(np.arange(len(counts)), counts)
    ends = texts.ends[text_of]
    places = np.minimum(token_starts, np.maximum(ends - 1, texts.begins[text_of]), dtype=np.int64)
    firsts, lasts = (np.cumsum(counts) - counts)[counts > 0], np.cumsum(counts)[counts > 0] - 1
    moving = np.flatnonzero(blank[places])
    if not len(moving):
        return Anchors(places, moving, firsts, moving)
    next_places = np.concatenate((places[1:], [0]))
    next_places[lasts] = texts.ends[counts > 0]
    starts, stops = places[moving], next_places[moving]
    found = starts + 1
    going = np.flatnonzero(blank[found] & (found < stops))
    while len(going):
        found[going] += 1
        going = going[blank[found[going]] & (found[going] < stops[going])]
    alone = np.flatnonzero(found >= stops)
    if len(alone):
        begin, next_place = starts[alone], found[alone]
        single = (next_place == stops[alone]) & (next_place == begin + 1) & (next_place < ends[moving[alone]])
        single &= (codes[begin] == _SPACE) & ~blank[next_place]
        found[alone] = np.where(single, next_place, begin)
        alone = alone[~single]
    places[moving] = found
    blank_tokens = moving[alone]
    return Anchors(places, blank_tokens, firsts, texts.begins[text_of[blank_tokens]])


def unit_starts(is_start: np.ndarray, anchored: Anchors) -> np.ndarray:
    """Which tokens begin a unit, [tokens] uint8: a text's first always. `is_start`: which of the characters do."""
    starts = np.ones(len(anchored.places), np.uint8)
    if len(starts) > 1:
        units = np.cumsum(is_start, dtype=np.int32)[anchored.places]
        np.not_equal(units[1:], units[:-1], out=starts[1:].view(np.bool_))
        starts[anchored.firsts] = 1
    return starts


def marked(places: list[int] | np.ndarray, length: int) -> np.ndarray:
    """[length] uint8 with 1 at `places`."""
    marks = np.zeros(length, np.uint8)
    marks[np.asarray(places, np.int64)] = 1
    return marks


@functools.cache
def _spaces() -> np.ndarray:
    return np.array([chr(code).isspace() for code in range(_LAST_SPACE + 2)])
