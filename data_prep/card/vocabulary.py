"""The tokenizer's part of the card: how well it fits the sample, by language and source, and what its pieces are."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from data_prep.card.contents import UNKNOWN_LANGUAGE
from data_prep.card.sample import Sampled
from data_prep.pages.words import count, percent, ratio, size
from data_prep.tokenizer import Tokenizer
from data_prep.tokenizer.report import vocabulary_report
from data_prep.tokenizer.visible import visible

MOST_GROUPS, FEWEST_DOCUMENTS = 12, 4  # languages and sources that have a row: the largest, with so many documents
_OTHERS = "all others"


@dataclass(frozen=True)
class Fertility:
    """A language or a source. `cells`: documents, text, tokens per word, characters per token, byte tokens, unknown."""

    name: str
    cells: Sequence[str]


@dataclass(frozen=True)
class Piece:
    """A piece of the vocabulary and how often the sample has it."""

    text: str
    id: int
    count: str


@dataclass(frozen=True)
class Vocabulary:
    """What the card says of the tokenizer."""

    documents: str
    size: str
    encoder: str
    total: Fertility
    languages: Sequence[Fertility]
    sources: Sequence[Fertility]
    longest: Sequence[Piece]
    most_used: Sequence[Piece]
    unused: str


def vocabulary(tokenizer: Tokenizer, sample: Sequence[Sampled]) -> Vocabulary:
    """Encode the sample and say how that went."""
    language = _groups(sample, lambda document: document.lang or UNKNOWN_LANGUAGE)
    source = _groups(sample, lambda document: document.source.partition("/")[0])
    report = vocabulary_report(tokenizer, ((language(each), source(each), each.text) for each in sample))
    unused = report["unused"]
    return Vocabulary(
        documents=count(report["total"]["documents"]),
        size=size(report["total"]["text_bytes"]),
        encoder=f"SentencePiece, for {why}" if (why := tokenizer.why_inexact) else "the fast encoder",
        total=_fertility("all", report["total"]),
        languages=_rows(report["languages"]),
        sources=_rows(report["sources"]) if len(report["sources"]) > 1 else [],
        longest=[_piece(row) for row in report["longest"]],
        most_used=[_piece(row) for row in report["most_used"]],
        unused=f"{unused['count']:,} of {unused['of']:,}",
    )


def _groups(sample: Sequence[Sampled], name_of: Callable[[Sampled], str]) -> Callable[[Sampled], str]:
    """The name of a document's group: the largest groups have their own."""
    documents = Counter(map(name_of, sample))
    sizes: Counter[str] = Counter()
    for document in sample:
        sizes[name_of(document)] += len(document.text)
    ordered = sorted(sizes, key=lambda name: (-sizes[name], name))
    kept = {name for name in ordered if documents[name] >= FEWEST_DOCUMENTS or len(ordered) <= MOST_GROUPS}
    named = set([name for name in ordered if name in kept][:MOST_GROUPS])
    return lambda document: name if (name := name_of(document)) in named else _OTHERS


def _rows(groups: Mapping[str, Any]) -> list[Fertility]:
    ordered = sorted(groups, key=lambda name: (name == _OTHERS, -groups[name]["text_bytes"], name))
    return [_fertility(name, groups[name]) for name in ordered]


def _fertility(name: str, figures: Mapping[str, Any]) -> Fertility:
    cells = [
        *(count(figures["documents"]), size(figures["text_bytes"])),
        *(ratio(figures["tokens_per_word"]), ratio(figures["characters_per_token"])),
        *(percent(figures["byte_tokens_share"]), percent(figures["unknown_share"])),
    ]
    return Fertility(name, cells)


def _piece(row: Mapping[str, Any]) -> Piece:
    return Piece(visible(row["piece"]), row["id"], count(row["count"]))
