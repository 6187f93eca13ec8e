"""Function words and content words, and gaps that ask about them (Children's Book Test, Hill et al. 2016, section 2).

A cloze question hides one word of a held-out text and offers it among ten words of the same class, as many tokens long,
from the same documents; which of the ten a model finds likeliest is its answer.

Function words are those of bm25s' stop word lists (NLTK's for English, those of its contributors for other languages:
closed classes, pronouns, articles, prepositions, auxiliaries); of Python, its keywords. All other words of letters are
content words.
"""

import itertools
import keyword
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import bm25s.stopwords

from data_prep.tokenizer import Tokenizer
from pipeline.evaluation.gaps import Gap
from pipeline.evaluation.texts import Document

FUNCTION, CONTENT = "function", "content"
CANDIDATES = 10
_WORD = re.compile(r"[^\W\d_]{2,}")
CONTEXT_TOKENS, APART_TOKENS, LONGEST_WORD_TOKENS = 48, 12, 8
_LISTS: Mapping[str, str] = {
    "da": "DANISH", "de": "GERMAN", "en": "EN_PLUS", "es": "SPANISH", "fr": "FRENCH", "it": "ITALIAN", "nl": "DUTCH",
    "no": "NORWEGIAN", "pt": "PORTUGUESE", "ru": "RUSSIAN", "sv": "SWEDISH", "tr": "TURKISH",
}  # fmt: skip
PYTHON = "python"


@dataclass(frozen=True)
class Question:
    """A gap, and ten ways to fill it; the first is the right one."""

    word_class: str
    gap: Gap
    candidates: tuple[tuple[int, ...], ...]


def function_words(language: str) -> frozenset[str]:
    """In lower case; empty where there is no list."""
    if language == PYTHON:
        return frozenset(map(str.lower, keyword.kwlist))
    name = _LISTS.get(language)
    return frozenset(getattr(bm25s.stopwords, f"STOPWORDS_{name}")) if name else frozenset()


def language_of(document: Document) -> str:
    """Python where it compiles as such or is called so, else as the dataset says, else English."""
    if document.id.endswith(".py") or _is_python(document.text):
        return PYTHON
    return document.language or "en"


def questions(
    documents: Iterable[tuple[Document, str]], tokenizer: Tokenizer, most: int, max_tokens: int
) -> list[Question]:
    """Up to `most` of either class, one from each document in turn; texts of up to `max_tokens` tokens.

    With each document its `language_of`.
    """
    context = min(CONTEXT_TOKENS, (max_tokens - LONGEST_WORD_TOKENS) // 2)
    by_document = (_gaps(document, language, tokenizer, context) for document, language in documents)
    gaps = list(itertools.chain.from_iterable(itertools.zip_longest(*by_document)))
    found = [gap for gap in gaps if gap is not None]
    words: dict[tuple[str, str, int], dict[tuple[int, ...], None]] = {}  # in the order of their first occurrence
    for word_class, language, gap in found:
        words.setdefault((word_class, language, len(gap.hidden)), {})[gap.hidden] = None
    asked: dict[str, list[Question]] = {FUNCTION: [], CONTENT: []}
    for number, (word_class, language, gap) in enumerate(found):
        others = [word for word in words[word_class, language, len(gap.hidden)] if word != gap.hidden]
        if len(others) >= CANDIDATES - 1 and len(asked[word_class]) < most:
            start = number * CANDIDATES % len(others)  # other words for each question, the same for each model
            chosen = (others[start:] + others[:start])[: CANDIDATES - 1]
            asked[word_class].append(Question(word_class, gap, (gap.hidden, *chosen)))
    return [*asked[FUNCTION], *asked[CONTENT]]


def _gaps(document: Document, language: str, tokenizer: Tokenizer, context: int) -> Iterator[tuple[str, str, Gap]]:
    """Words some distance apart, each with its class; those that whole tokens make up, with white space at most."""
    reached = 0
    known = function_words(language)
    if not known or not len(document.tokens):
        return
    text, tokens = document.text, document.tokens.tolist()
    places = {start: number for number, start in enumerate(tokenizer.token_starts(text, document.tokens).tolist())}
    places[len(text)] = len(tokens)
    for match in _WORD.finditer(text):
        first, last = _token_at(places, text, match.start(), -1), _token_at(places, text, match.end(), 1)
        if first is None or last is None or first < reached + APART_TOKENS:
            continue
        if first < last <= first + LONGEST_WORD_TOKENS:
            reached = last
            before, after = tokens[max(0, first - context) : first], tokens[last : last + context]
            gap = Gap(tuple(before), tuple(tokens[first:last]), tuple(after))
            yield (FUNCTION if match.group().lower() in known else CONTENT), language, gap


def _token_at(places: Mapping[int, int], text: str, place: int, outwards: int) -> int | None:
    """The token that begins at `place`, or one blank further out."""
    if place in places:
        return places[place]
    beyond = place + outwards
    blank = text[min(place, beyond) : max(place, beyond)]
    return places.get(beyond) if blank == " " else None


def _is_python(text: str) -> bool:
    if not re.search(r"^(def|class|import|from) ", text, re.MULTILINE):
        return False
    try:
        compile(text, "", "exec", dont_inherit=True, flags=0x400)  # ast.PyCF_ONLY_AST: parsed, never run
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True
