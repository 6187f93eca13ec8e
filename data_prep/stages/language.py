"""Identify the language of documents, offline, and keep some.

The model is py3langid's: 140 languages and `zxx`, what is no language; it lies within the package. A text that tells
nothing (empty, a number) is `und`. Invariant: the language depends on the text only.

1. Of a long text three stretches are read, from its beginning, middle and end.
2. The code (ISO 639: two letters where there are such) becomes `document.lang`, unless the source gave one.
3. Languages that are not to be kept, and guesses that are too uncertain, are dropped.
"""

import functools
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Annotated, Literal

from py3langid.langid import MODEL_FILE, LanguageIdentifier
from pydantic import Field

from data_prep.section import Section
from data_prep.sources.document import Document
from data_prep.stages.stage import Dropped, Step

VERSION = 1
STRETCH_CHARS, STRETCHES = 700, 3
UNDETERMINED, _GUESS = "und", 0.05  # what is less likely than this says nothing
LanguageCode = Annotated[str, Field(pattern="^[a-z]{2,3}$")]


class Config(Section):
    """Which languages to keep; none named: all."""

    kind: Literal["language"] = "language"
    keep: tuple[LanguageCode, ...] = ()
    min_confidence: float = Field(0.0, ge=0, le=1)  # of the languages the model can tell apart, how sure it is of one
    overwrite: bool = False  # identify documents whose source named a language, too


def step(config: Config) -> Step:
    """Documents with their language, in their order; those of other languages are dropped."""
    return functools.partial(_identify_documents, config)


def identify(text: str) -> tuple[str, float]:
    """The most likely language of a text and its probability, 0 to 1."""
    code, confidence = _identifier().classify(_sample(text))
    return str(code), round(float(confidence), 4)


def _identify_documents(config: Config, documents: Iterable[Document]) -> Iterator[Document | Dropped]:
    for document in documents:
        confidence = 1.0
        if document.lang is None or config.overwrite:
            lang, confidence = identify(document.text)
            document = replace(document, lang=lang)
        if config.keep and _main_code(document.lang) not in config.keep:
            yield Dropped(document, "language", f"{document.lang} ({confidence:.2f})")
        elif confidence < config.min_confidence:
            yield Dropped(
                document, "uncertain", f"{document.lang} ({confidence:.2f}, less than {config.min_confidence})"
            )
        else:
            yield document


def _main_code(tag: str | None) -> str:
    """`pt` of `pt-BR` or `pt_BR`."""
    return (tag or UNDETERMINED).replace("_", "-").partition("-")[0].lower()


def _sample(text: str) -> str:
    if len(text) <= STRETCHES * STRETCH_CHARS:
        return text
    gap = (len(text) - STRETCH_CHARS) // (STRETCHES - 1)
    return "\n".join(text[number * gap : number * gap + STRETCH_CHARS] for number in range(STRETCHES))


@functools.cache
def _identifier() -> LanguageIdentifier:
    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True, min_confidence=_GUESS)
