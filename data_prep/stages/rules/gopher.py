"""The quality rules of Gopher (Rae et al. 2021, section A.1.1), each with the paper's threshold; None switches one off.

Words are those of `words.split_words`. Where a text is written without spaces, the rule on the mean length of words
does not apply; stop words are asked for in English only.
"""

from data_prep.section import Section
from data_prep.stages.rules import Finding, too_high, too_low
from data_prep.stages.rules.words import has_spaced_words, split_words

STOP_WORDS = frozenset(("the", "be", "to", "of", "and", "that", "have", "with"))
_BULLETS = ("\u2022", "-", "*", "\u2023", "\u25cf", "\u25e6")
_ELLIPSES = ("...", "\u2026")


class GopherQuality(Section):
    """Thresholds; shares are between 0 and 1."""

    min_words: int | None = 50
    max_words: int | None = 100_000
    min_mean_word_length: float | None = 3
    max_mean_word_length: float | None = 10
    max_hashes_per_word: float | None = 0.1
    max_ellipses_per_word: float | None = 0.1
    max_bullet_lines: float | None = 0.9
    max_ellipsis_lines: float | None = 0.3
    min_alphabetic_words: float | None = 0.8
    min_stop_words: int | None = 2


def judge_quality(rules: GopherQuality, text: str, lang: str | None) -> Finding | None:
    """The first rule that the text breaks, in the order of the paper."""
    words = split_words(text)
    return (
        _judge_words(rules, words)
        or _judge_symbols(rules, text, max(len(words), 1))
        or _judge_lines(rules, text)
        or _judge_letters(rules, words)
        or (_judge_stop_words(rules, words) if lang == "en" else None)
    )


def _judge_words(rules: GopherQuality, words: list[str]) -> Finding | None:
    found = too_low("gopher_short", len(words), rules.min_words, "words") or too_high(
        "gopher_long", len(words), rules.max_words, "words"
    )
    if found or not words or not has_spaced_words(words):
        return found
    mean = sum(map(len, words)) / len(words)
    return too_low("gopher_short_words", mean, rules.min_mean_word_length, "mean length of words") or too_high(
        "gopher_long_words", mean, rules.max_mean_word_length, "mean length of words"
    )


def _judge_symbols(rules: GopherQuality, text: str, num_words: int) -> Finding | None:
    hashes, ellipses = text.count("#"), sum(map(text.count, _ELLIPSES))
    return too_high("gopher_hashes", hashes / num_words, rules.max_hashes_per_word, "# per word") or too_high(
        "gopher_ellipses", ellipses / num_words, rules.max_ellipses_per_word, "ellipses per word"
    )


def _judge_lines(rules: GopherQuality, text: str) -> Finding | None:
    lines = [line for line in map(str.strip, text.split("\n")) if line]
    count = max(len(lines), 1)
    bullets = sum(line.startswith(_BULLETS) for line in lines) / count
    ellipses = sum(line.endswith(_ELLIPSES) for line in lines) / count
    return too_high(
        "gopher_bullet_lines", bullets, rules.max_bullet_lines, "lines that begin with a bullet"
    ) or too_high("gopher_ellipsis_lines", ellipses, rules.max_ellipsis_lines, "lines that end with an ellipsis")


def _judge_letters(rules: GopherQuality, words: list[str]) -> Finding | None:
    if rules.min_alphabetic_words is None or not words:
        return None
    alphabetic = sum(1 for word in words if word[0].isalpha() or any(map(str.isalpha, word)))
    return too_low("gopher_letters", alphabetic / len(words), rules.min_alphabetic_words, "words with a letter")


def _judge_stop_words(rules: GopherQuality, words: list[str]) -> Finding | None:
    if rules.min_stop_words is None:
        return None
    found = STOP_WORDS.intersection(words)
    if len(found) < rules.min_stop_words:
        found = STOP_WORDS.intersection(map(str.lower, words))
    return too_low("gopher_stop_words", len(found), rules.min_stop_words, "different stop words")
