"""The repetition rules of Gopher (Rae et al. 2021, table A1), each with the paper's threshold; None switches one off.

All thresholds are shares of a text's lines, paragraphs or characters. Of equal lines, paragraphs and n-grams the first
is no duplicate. Rules on n-grams of words do not apply to text that is written without spaces.

1. Lines and paragraphs are counted with sets.
2. Words become numbers, n-grams 64-bit codes, made from those of the (n-1)-grams.
3. Only places whose (n-1)-gram is repeated can begin a repeated n-gram: after a few words hardly any are left.
4. These are gone through one by one, so that no character counts twice.
"""

import re

import numpy as np

from data_prep.section import Section
from data_prep.stages.rules import Finding, too_high
from data_prep.stages.rules.words import has_spaced_words, split_words

_PARAGRAPHS = re.compile(r"\n{2,}")
_FACTOR = np.uint64(0x9E3779B97F4A7C15)  # odd, its bits look random: codes of different n-grams differ


class GopherRepetition(Section):
    """Thresholds; shares between 0 and 1."""

    duplicate_lines: float | None = 0.30
    duplicate_paragraphs: float | None = 0.30
    duplicate_line_characters: float | None = 0.20
    duplicate_paragraph_characters: float | None = 0.20
    top_2gram: float | None = 0.20
    top_3gram: float | None = 0.18
    top_4gram: float | None = 0.16
    duplicate_5gram: float | None = 0.15
    duplicate_6gram: float | None = 0.14
    duplicate_7gram: float | None = 0.13
    duplicate_8gram: float | None = 0.12
    duplicate_9gram: float | None = 0.11
    duplicate_10gram: float | None = 0.10


def judge_repetition(rules: GopherRepetition, text: str) -> Finding | None:
    """The first rule that the text breaks, in the order of the table."""
    length = max(len(text), 1)
    lines, line_characters = _duplicates([line for line in text.split("\n") if line])
    paragraphs, paragraph_characters = _duplicates(_PARAGRAPHS.split(text.strip("\n")))
    return (
        too_high("gopher_duplicate_lines", lines, rules.duplicate_lines, "share of lines")
        or too_high("gopher_duplicate_paragraphs", paragraphs, rules.duplicate_paragraphs, "share of paragraphs")
        or too_high(
            "gopher_duplicate_lines", line_characters / length, rules.duplicate_line_characters, "share of characters"
        )
        or too_high(
            "gopher_duplicate_paragraphs",
            paragraph_characters / length,
            rules.duplicate_paragraph_characters,
            "share of characters",
        )
        or _judge_ngrams(rules, split_words(text), length)
    )


def _duplicates(parts: list[str]) -> tuple[float, int]:
    """The share of parts that were there before, and their characters."""
    different = set(parts)
    share = (len(parts) - len(different)) / max(len(parts), 1)
    return share, sum(map(len, parts)) - sum(map(len, different))


def _judge_ngrams(rules: GopherRepetition, words: list[str], length: int) -> Finding | None:
    if not has_spaced_words(words):
        return None
    number = {word: place for place, word in enumerate(dict.fromkeys(words), start=1)}
    ids = np.fromiter(map(number.__getitem__, words), np.uint64, len(words))
    places, codes = np.arange(len(words)), ids
    for n in range(2, 11):
        within = places <= len(words) - n
        places, codes = places[within], codes[within]
        codes = codes * _FACTOR + ids[places + n - 1]
        places, codes = _repeated(places, codes)
        if not places.size:
            return None
        if found := _judge_length(rules, words, places, codes, n, length):
            return found
    return None


def _repeated(places: np.ndarray, codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Those places, and their codes, whose code is there more than once."""
    _, inverse, counts = np.unique(codes, return_inverse=True, return_counts=True)
    repeated = (counts > 1)[inverse]
    return places[repeated], codes[repeated]


def _judge_length(
    rules: GopherRepetition, words: list[str], places: np.ndarray, codes: np.ndarray, n: int, length: int
) -> Finding | None:
    if n < 5:
        share = _top_characters(words, places, codes, n) / length
        return too_high("gopher_top_ngram", share, getattr(rules, f"top_{n}gram"), f"top {n}-gram")
    share = _duplicate_characters(words, places, codes, n) / length
    return too_high("gopher_duplicate_ngram", share, getattr(rules, f"duplicate_{n}gram"), f"repeated {n}-grams")


def _top_characters(words: list[str], places: np.ndarray, codes: np.ndarray, n: int) -> int:
    """Characters, spaces included, of the n-gram that is there most often; of several, of the first."""
    _, first, counts = np.unique(codes, return_index=True, return_counts=True)
    most = int(counts.max())
    place = int(places[first[counts == most].min()])
    return most * (sum(map(len, words[place : place + n])) + n - 1)


def _duplicate_characters(words: list[str], places: np.ndarray, codes: np.ndarray, n: int) -> int:
    """Characters of n-grams that were there before, from left to right; after one, the next begins behind it."""
    seen: set[int] = set()
    free, characters = 0, 0
    for place, code in zip(places.tolist(), codes.tolist(), strict=True):
        if place < free:
            continue
        if code in seen:
            characters += sum(map(len, words[place : place + n]))
            free = place + n
        else:
            seen.add(code)
    return characters
