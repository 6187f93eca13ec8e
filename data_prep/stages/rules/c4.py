"""The rules of C4 (Raffel et al. 2020, section 2.2), each with the paper's setting, each can be switched off.

Lines that break a rule are taken out; a text that breaks one is dropped. Not here: English only is the stage
`language`, the repeated spans of three sentences are the stages `dedup` and `boilerplate`. A line ends well with the
paper's marks or with those that other scripts end sentences with, but not with an ellipsis. As in the authors' code,
whole pages are judged by the lines that stay.

1. `edit_lines` takes out lines and citation marks; done twice, it changes nothing more.
2. `judge_page` looks at what is left.
"""

import functools
import re

from data_prep.section import Section
from data_prep.stages.rules import Finding, too_low
from data_prep.stages.rules.words import has_spaced_words, split_words

_ENDS = '.?!"\u201d\u3002\uff01\uff1f\uff0e\u061f\u06d4\u0964\u0965\u1362\u17d4\u104b'
_LINE_ENDS = tuple(_ENDS)
_SENTENCE_END = re.compile(rf"[{_ENDS}][\"'\u201d\u2019\u00bb)\]]*(?=\s|$)|[\u3002\uff01\uff1f]")
_CITATION = re.compile(r"\[(?:\d*|edit|citation needed)\]")
_POLICIES = ("terms of use", "privacy policy", "cookie policy", "uses cookies", "use of cookies", "use cookies")


class C4(Section):
    """Which rules apply."""

    terminal_punctuation: bool = True
    min_words_per_line: int | None = 5
    min_sentences: int | None = 3
    javascript: bool = True
    policies: bool = True
    citations: bool = True
    lorem_ipsum: bool = True
    curly_bracket: bool = True
    bad_words: tuple[str, ...] = ()  # the paper's list is not part of this package


def edit_lines(rules: C4, text: str) -> str:
    """The text without the lines, and within lines the citation marks, that the rules do not allow."""
    while rules.citations and "[" in text and (shorter := _CITATION.sub("", text)) != text:
        text = shorter
    phrases = (("javascript",) if rules.javascript else ()) + (_POLICIES if rules.policies else ())
    lowered = text.lower()
    phrases = tuple(phrase for phrase in phrases if phrase in lowered)
    return "\n".join(line for line in text.split("\n") if _keeps(rules, line.strip(), phrases))


def judge_page(rules: C4, text: str) -> Finding | None:
    """The first rule on whole pages that a text breaks."""
    lowered = text.lower()
    if rules.curly_bracket and "{" in text:
        return Finding("c4_curly_bracket", _around(text, text.index("{")))
    if rules.lorem_ipsum and "lorem ipsum" in lowered:
        return Finding("c4_lorem_ipsum", _around(lowered, lowered.index("lorem ipsum")))
    if rules.bad_words and (match := _expression(tuple(map(str.lower, rules.bad_words))).search(lowered)):
        return Finding("c4_bad_words", match.group())
    sentences = sum(1 for _ in _SENTENCE_END.finditer(text)) if rules.min_sentences else 0
    return too_low("c4_sentences", sentences, rules.min_sentences, "sentences")


def _keeps(rules: C4, line: str, phrases: tuple[str, ...]) -> bool:
    if rules.terminal_punctuation and (not line.endswith(_LINE_ENDS) or line.endswith("...")):
        return False
    if rules.min_words_per_line and len(split_words(line)) < rules.min_words_per_line:
        return False
    lowered = line.lower() if phrases else ""
    return not any(phrase in lowered for phrase in phrases)


def _around(text: str, place: int) -> str:
    return text[max(place - 30, 0) : place + 30].replace("\n", " ")


@functools.lru_cache(maxsize=8)
def _expression(words: tuple[str, ...]) -> re.Pattern[str]:
    """Any of the words, on its own; in scripts without spaces, anywhere."""
    alternatives = (
        rf"\b{re.escape(word)}\b" if has_spaced_words(split_words(word)) else re.escape(word) for word in words
    )
    return re.compile("|".join(alternatives))
