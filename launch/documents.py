"""`spanwright inspect DATASET`: documents as the shards hold them, with their columns in colour.

1. Id, number of tokens, and what stands for the whole document (language, pair).
2. The tokens. A sentence begins on a new line after ¶, a word after │; an n-gram goes on after ‿; heavier tokens stand
   on a stronger background; identifiers and comments have colours.
3. Below them what colours do not tell: the heaviest tokens, and spans by kind.
"""

import itertools
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.style import Style
from rich.text import Text

from data_prep.columns.origin import lang_code
from data_prep.shards import Column, Dataset, TokenizedDocument
from data_prep.tokenizer import Tokenizer
from data_prep.tokenizer.visible import visible
from launch.terminal import count_of

MOST_TOKENS = 400  # of one document
_MOST_EXAMPLES = 8
_KIND_COLOURS = {"identifier": "cyan", "comment": "green"}
_OWN_DISPLAY = ("words", "sents", "ngrams", "weight", "spans", "lang", "pair")


def inspect_documents(folder: Path, split: str, num_documents: int) -> Iterator[RenderableType]:
    """A panel for each of the first `num_documents` documents of a split; an InputError names what is missing."""
    dataset = Dataset.open(folder)
    tokenizer = Tokenizer.load(dataset.tokenizer_folder)
    columns = dataset.manifest.columns
    chunks = dataset.split(split)
    names = f"columns: {', '.join(columns)}" if columns else "no columns"
    yield Text(f"{folder}, {split}: {count_of(sum(s.documents for s in chunks.shards), 'document')}, {names}")
    documents = (document for number in range(chunks.num_chunks) for document in chunks.chunk(number).documents())
    for document in itertools.islice(documents, num_documents):
        facts = Text(_facts(document, columns), style="dim")
        body = [facts, _tokens(document, columns, tokenizer), *_notes(document, columns, tokenizer)]
        yield Panel(Group(*body), title=Text(document.id), title_align="left")


def _facts(document: TokenizedDocument, columns: Mapping[str, Column]) -> str:
    """Size, and the columns of one number per document."""
    facts = [count_of(len(document.token_ids), "token")]
    for name, noun in (("words", "word"), ("sents", "sentence"), ("ngrams", "n-gram")):
        if name in columns:
            facts.append(count_of(int(document.columns[name].sum()), noun))
    for name, column in columns.items():
        if column.per == "document":
            facts.append(f"{name} {_shown_number(name, int(document.columns[name][0]))}")
    return ", ".join(facts)


def _shown_number(name: str, number: int) -> str:
    if name == "lang":
        return lang_code(number) or "unknown"
    if name == "pair":
        return f"{number:016x}" if number else "none"
    return str(number)


def _tokens(document: TokenizedDocument, columns: Mapping[str, Column], tokenizer: Tokenizer) -> Text:
    shown = document.token_ids[:MOST_TOKENS].tolist()
    styles = _styles(document, columns, len(shown))
    marks = {name: document.columns[name] for name in ("words", "sents", "ngrams") if name in columns}
    text = Text()
    for number, token in enumerate(shown):
        text.append(_mark(marks, number), style="dim")
        text.append(visible(tokenizer.id_to_piece(token)), style=styles[number])
    if len(document.token_ids) > len(shown):
        text.append(f" … {len(document.token_ids) - len(shown):,} more", style="dim")
    return text


def _mark(marks: Mapping[str, np.ndarray], number: int) -> str:
    """What stands before a token."""
    if "sents" in marks and marks["sents"][number]:
        return "\n¶" if number else "¶"
    if "ngrams" in marks and not marks["ngrams"][number]:
        return "‿"
    return "│" if number and "words" in marks and marks["words"][number] else ""


def _styles(document: TokenizedDocument, columns: Mapping[str, Column], count: int) -> list[Style]:
    colours: list[str | None] = [None] * count
    backgrounds: list[str | None] = [None] * count
    if "spans" in columns:
        kinds = columns["spans"].kinds or []
        for start, stop, kind in document.columns["spans"].tolist():
            if colour := _KIND_COLOURS.get(kinds[kind]):
                colours[start:stop] = [colour] * len(colours[start:stop])
    if "weight" in columns:
        weights = document.columns["weight"][:count].astype(int)
        highest = max(int(document.columns["weight"].max(initial=1)), 1)
        backgrounds = [f"rgb({level},{level // 3},{level // 2})" for level in (160 * weights // highest).tolist()]
        colours = [colour or "white" for colour in colours]
    return [Style(color=colour, bgcolor=background) for colour, background in zip(colours, backgrounds, strict=True)]


def _notes(document: TokenizedDocument, columns: Mapping[str, Column], tokenizer: Tokenizer) -> Iterator[Text]:
    if "weight" in columns and len(document.token_ids):
        yield Text(f"weight: {_heaviest(document, tokenizer)}", style="dim")
    for name, column in columns.items():
        if column.per == "span":
            for line in _span_lines(document, name, column, tokenizer):
                yield Text(line, style="dim")
        elif column.per == "token" and name not in _OWN_DISPLAY:
            values = document.columns[name][:MOST_TOKENS].tolist()
            yield Text(f"{name}: {' '.join(map(str, values))}", style="dim")


def _heaviest(document: TokenizedDocument, tokenizer: Tokenizer) -> str:
    weights = document.columns["weight"]
    tokens, first = np.unique(document.token_ids, return_index=True)
    best = np.argsort(-weights[first].astype(int), kind="stable")[:_MOST_EXAMPLES]
    examples = ", ".join(f"{visible(tokenizer.id_to_piece(int(tokens[n])))} {weights[first[n]]}" for n in best)
    return f"{weights.min()} to {weights.max()}, mean {weights.mean():.0f}; heaviest {examples}"


def _span_lines(document: TokenizedDocument, name: str, column: Column, tokenizer: Tokenizer) -> Iterator[str]:
    """A line for each kind of span in the document, with the first ones."""
    spans = document.columns[name]
    for number, kind in enumerate(column.kinds or ()):
        rows = spans[spans[:, 2] == number]
        if len(rows):
            texts = (_span_text(document, start, stop, tokenizer) for start, stop, _ in rows[:_MOST_EXAMPLES].tolist())
            more = ", …" if len(rows) > _MOST_EXAMPLES else ""
            yield f"{name}: {count_of(len(rows), kind)}: {', '.join(texts)}{more}"


def _span_text(document: TokenizedDocument, start: int, stop: int, tokenizer: Tokenizer, most: int = 40) -> str:
    text = visible(tokenizer.decode(document.token_ids[start:stop]).strip())
    return text if len(text) <= most else f"{text[: most - 1]}…"
