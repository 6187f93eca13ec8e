"""Identifiers and comments of source code, found by tree-sitter: it parses broken files and old dialects as well.

1. The language follows from the extension of the document's file, or is given.
2. A query captures every node of a kind called `...identifier` or `...comment`; keywords and literals are none.
3. Places in bytes become places in characters.
"""

import functools
import importlib
from pathlib import PurePosixPath
from typing import Any, Literal

import numpy as np

from data_prep.columns.spans import COMMENT, IDENTIFIER, CharacterSpans
from data_prep.errors import InputError
from data_prep.sources.document import Document

# By extension: the module of the grammar, and the function in it.
_GRAMMARS = {
    **dict.fromkeys((".py", ".pyi"), ("tree_sitter_python", "language")),
    **dict.fromkeys((".js", ".mjs", ".cjs", ".jsx"), ("tree_sitter_javascript", "language")),
    **dict.fromkeys((".ts", ".mts", ".cts"), ("tree_sitter_typescript", "language_typescript")),
    ".tsx": ("tree_sitter_typescript", "language_tsx"),
    ".java": ("tree_sitter_java", "language"),
    **dict.fromkeys((".c", ".h"), ("tree_sitter_c", "language")),
    **dict.fromkeys((".cc", ".cpp", ".cxx", ".hh", ".hpp", ".hxx"), ("tree_sitter_cpp", "language")),
    ".go": ("tree_sitter_go", "language"),
    ".rs": ("tree_sitter_rust", "language"),
}
_NOTHING = CharacterSpans([], [], [])


def grammar_packages(source: Literal["code", "python"]) -> list[str]:
    """The packages of the grammars that `source` needs."""
    modules = {_GRAMMARS[".py"][0]} if source == "python" else {module for module, _ in _GRAMMARS.values()}
    return sorted(module.replace("_", "-") for module in modules)


def code_spans(document: Document, source: Literal["code", "python"]) -> CharacterSpans:
    """Identifiers and comments of a document, in characters; none where the language is not known."""
    extension = ".py" if source == "python" else PurePosixPath(document.source).suffix.lower()
    if extension not in _GRAMMARS:
        return _NOTHING
    parser, query = _parser(*_GRAMMARS[extension])
    data = document.text.encode()
    captures = _library("tree_sitter").QueryCursor(query).captures(parser.parse(data).root_node)
    identifiers, comments = captures.get("identifier", []), captures.get("comment", [])
    bounds = np.array([(node.start_byte, node.end_byte) for node in (*identifiers, *comments)], np.int64).reshape(-1, 2)
    kinds = np.repeat([IDENTIFIER, COMMENT], [len(identifiers), len(comments)])
    places = bounds if len(data) == len(document.text) else _characters_before(data)[bounds]
    return CharacterSpans(places[:, 0], places[:, 1], kinds)


@functools.cache
def _parser(module: str, function: str) -> tuple[Any, Any]:
    """Parser and query of a grammar."""
    library = _library("tree_sitter")
    language = library.Language(getattr(_library(module), function)())
    names = {
        language.node_kind_for_id(number)
        for number in range(language.node_kind_count)
        if language.node_kind_is_named(number) and language.node_kind_is_visible(number)
    }
    patterns = [
        f"({name}) @{capture}"
        for name in sorted(names)
        for capture in ("identifier", "comment")
        if name == capture or name.endswith(f"_{capture}")
    ]
    return library.Parser(language), library.Query(language, "\n".join(patterns))


def _library(module: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.replace("_", "-")
        raise InputError(f"data.columns.spans: this needs the package {package}; pip install {package}") from error


def _characters_before(data: bytes) -> np.ndarray:
    """For each place between bytes, how many characters begin before it: [bytes + 1] int64."""
    begins = (np.frombuffer(data, np.uint8) & 0xC0) != 0x80
    return np.concatenate([[0], np.cumsum(begins)])
