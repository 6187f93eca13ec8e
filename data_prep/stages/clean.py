"""Repair texts and, where a config asks for it, drop the bad ones by the rules of Gopher and C4.

Without options only what is broken is repaired (see `rules.repair`), for any language and for code, and documents
that have no text left are dropped.

Invariant: cleaning what was cleaned changes nothing. Every rule judges the text as it will be passed on.

1. The text is repaired, and C4's lines are taken out, until nothing changes.
2. Length, then the families of rules in the order of `rules`: the first finding drops the document.
"""

import functools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Literal, Self

from pydantic import Field, model_validator

from data_prep.section import Positive, Section
from data_prep.sources.document import Document
from data_prep.stages.rules import Finding
from data_prep.stages.rules.c4 import C4, edit_lines, judge_page
from data_prep.stages.rules.gopher import GopherQuality, judge_quality
from data_prep.stages.rules.repair import Form, settle
from data_prep.stages.rules.repetition import GopherRepetition, judge_repetition
from data_prep.stages.rules.settled import quickly_settled
from data_prep.stages.stage import Dropped, Step

VERSION = 1
Family = Literal["gopher_quality", "gopher_repetition", "c4"]


class Config(Section):
    """What to repair and which families of rules to apply; lengths are in characters, white space around left out."""

    kind: Literal["clean"] = "clean"
    mojibake: bool = True
    normalization: Form | None = "NFC"
    min_chars: int = Field(1, ge=0)
    max_chars: Positive | None = None
    lang: str | None = None  # of documents that do not say theirs: rules for English apply to "en"
    rules: tuple[Family, ...] = ()
    gopher_quality: GopherQuality = GopherQuality()
    gopher_repetition: GopherRepetition = GopherRepetition()
    c4: C4 = C4()

    @model_validator(mode="after")
    def _thresholds_are_used(self) -> Self:
        for family in ("gopher_quality", "gopher_repetition", "c4"):
            changed = getattr(self, family) != type(self).model_fields[family].default
            if changed and family not in self.rules:
                raise ValueError(f"{family} has settings but is not in rules: add it there")
        return self


def step(config: Config) -> Step:
    """Cleaned documents in their order, and those that are dropped."""
    return functools.partial(_clean_documents, config)


def clean_text(config: Config, text: str) -> str:
    """The text as it is passed on."""
    text = settle(text, config.normalization, config.mojibake)
    while "c4" in config.rules:
        edited = edit_lines(config.c4, text)
        text = settle(edited, config.normalization, config.mojibake)
        if text == edited:
            break
    return text


def _clean_documents(config: Config, documents: Iterable[Document]) -> Iterator[Document | Dropped]:
    judges = [_JUDGES[family] for family in config.rules]
    for document in documents:
        text = _quickly_cleaned(config, document)
        if text is None:
            text = clean_text(config, document.text)
        finding = _judge_length(config, text)
        for judge in judges:
            finding = finding or judge(config, text, document.lang or config.lang)
        if finding:
            yield Dropped(document, *finding)
        else:
            yield document if text == document.text else replace(document, text=text)


def _quickly_cleaned(config: Config, document: Document) -> str | None:
    """What `clean_text` makes of the text, where that is quickly told."""
    if "c4" in config.rules:
        return None
    try:
        return quickly_settled(document.text, document.utf8, config.normalization, config.mojibake)
    except UnicodeEncodeError:  # lone surrogates, which `clean_text` removes
        return None


def _judge_length(config: Config, text: str) -> Finding | None:
    length = len(text.strip())
    if length < config.min_chars:
        return Finding("short", f"{length} characters, less than {config.min_chars}")
    if config.max_chars is not None and length > config.max_chars:
        return Finding("long", f"{length} characters, more than {config.max_chars}")
    return None


_JUDGES: dict[Family, Callable[[Config, str, str | None], Finding | None]] = {
    "gopher_quality": lambda config, text, lang: judge_quality(config.gopher_quality, text, lang),
    "gopher_repetition": lambda config, text, lang: judge_repetition(config.gopher_repetition, text),
    "c4": lambda config, text, lang: judge_page(config.c4, text),
}
