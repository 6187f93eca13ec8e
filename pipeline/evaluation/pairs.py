"""Pairs of texts that belong together, from the documents of a dataset: what retrieval is measured on.

- code: a function's docstring, and its source without it (Husain et al. 2019, CodeSearchNet, arXiv:1909.09436)
- pages kept as simplified HTML: a heading, and the text between it and the next one
- a text whose first line is a title: that line, and the text below it
- any text: a sentence of a passage, and the passage without it (Lee et al. 2019, inverse cloze, arXiv:1906.00300)

Invariant: neither side holds the other (the docstring is cut from the source, the heading is not part of the text), and
among `usable` pairs no query and no text stands twice.
"""

import ast
import html
import json
import re
import textwrap
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from data_prep.errors import InputError

_HEADING = re.compile(r"<h[1-6]>(.*?)</h[1-6]>", re.DOTALL)
_TAG = re.compile(r"<[^>\n]*>")
_BLANK = re.compile(r"\s+")
_SENTENCE = re.compile(r"(?s).+?(?:[.!?]+(?=\s)|[。！？]|\n\s*\n|\Z)\s*")
SHORTEST_QUERY_CHARS = 12
SHORTEST_TEXT_CHARS = 120
LONGEST_TITLE_CHARS = 120


class Pair(NamedTuple):
    """A query, and the only text that answers it."""

    query: str
    text: str


def docstring_pairs(source: str) -> Iterator[Pair]:
    """First paragraph of the docstring -> rest of the function, for every function; none where it is not Python."""
    try:
        with warnings.catch_warnings():  # of escapes in other people's strings
            warnings.simplefilter("ignore")
            tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError):
        return
    lines = source.splitlines(keepends=True)
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            said = ast.get_docstring(node)
            if said and len(node.body) > 1:
                yield Pair(_one_line(said.split("\n\n")[0]), _without_docstring(node, lines))


def heading_pairs(page: str) -> Iterator[Pair]:
    """Heading -> text up to the next heading, tags taken away, in the order of the page."""
    headings = list(_HEADING.finditer(page))
    stops = [*(heading.start() for heading in headings[1:]), len(page)][: len(headings)]
    for heading, stop in zip(headings, stops, strict=True):
        yield Pair(_one_line(_without_tags(heading[1])), _without_tags(page[heading.end() : stop]).strip())


def title_pairs(text: str) -> Iterator[Pair]:
    """First line -> the rest, where the first line is no sentence and stands above a longer text."""
    title, newline, body = text.lstrip().partition("\n")
    title = title.strip().lstrip("#").strip()
    if newline and SHORTEST_QUERY_CHARS <= len(title) <= LONGEST_TITLE_CHARS and title[-1] not in ".!?,;:。！？{(":
        yield Pair(_one_line(title), body.strip())


def inverse_cloze_pairs(text: str, sentences: int = 5) -> Iterator[Pair]:
    """The middle sentence of every passage of so many -> the passage without it."""
    spans = [match.group() for match in _SENTENCE.finditer(text) if match.group().strip()]
    for first in range(0, len(spans) - sentences + 1, sentences):
        passage = spans[first : first + sentences]
        query = passage.pop(sentences // 2)
        yield Pair(_one_line(query), "".join(passage).strip())


def read_pairs(path: Path) -> list[Pair]:
    """The user's own: JSON lines, each {"query": ..., "text": ...}; InputError naming the line that is none."""
    pairs = []
    try:
        with open(path, encoding="utf-8") as file:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    pairs.append(_read_pair(line, f"{path}:{number}"))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"--pairs {path}: cannot be read: {error}") from None
    if len(pairs) < 2:
        raise InputError(f"--pairs {path}: holds {len(pairs)} pairs; a query needs other texts to be told from")
    return pairs


def _read_pair(line: str, place: str) -> Pair:
    try:
        fields = json.loads(line)
        query, text = fields["query"], fields["text"]
    except (ValueError, KeyError, TypeError):
        query = text = None
    if not (isinstance(query, str) and isinstance(text, str)):
        raise InputError(f'--pairs {place}: each line is an object {{"query": "...", "text": "..."}}')
    return Pair(query, text)


def usable(pairs: Iterable[Pair]) -> list[Pair]:
    """Those long enough to be told from others, each query and each text once (the first)."""
    kept: list[Pair] = []
    queries: set[str] = set()
    texts: set[str] = set()
    for pair in pairs:
        long_enough = len(pair.query) >= SHORTEST_QUERY_CHARS and len(pair.text) >= SHORTEST_TEXT_CHARS
        if long_enough and pair.query not in queries and pair.text not in texts:
            kept.append(pair)
            queries.add(pair.query)
            texts.add(pair.text)
    return kept


def _without_docstring(node: ast.FunctionDef | ast.AsyncFunctionDef, lines: list[str]) -> str:
    """The function's own lines, less those of its docstring."""
    first = node.body[0]
    assert first.end_lineno is not None, "ast.parse gives it"
    kept = lines[node.lineno - 1 : first.lineno - 1] + lines[first.end_lineno : node.end_lineno]
    return textwrap.dedent("".join(kept)).strip()


def _without_tags(text: str) -> str:
    return html.unescape(_TAG.sub("", text))


def _one_line(text: str) -> str:
    return _BLANK.sub(" ", text).strip()
