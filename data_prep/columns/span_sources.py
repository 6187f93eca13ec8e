"""Where spans come from: a parser of the document's language. Parsers are imported when a column needs one."""

from typing import Literal

import numpy as np

from data_prep.columns.spans import CharacterSpans, in_tokens
from data_prep.sources.document import Document

SpanSource = Literal["code", "python", "html"]


def packages(source: SpanSource | None) -> list[str]:
    """The libraries that find these spans, by the names they are installed under."""
    if source is None or source == "html":
        return []
    from data_prep.columns.code_spans import grammar_packages

    return ["tree-sitter", *grammar_packages(source)]


def token_spans(document: Document, source: SpanSource, token_starts: np.ndarray) -> np.ndarray:
    """The spans of a document as (start, stop, kind), in tokens: [spans, 3] int32."""
    return in_tokens(_character_spans(document, source), token_starts)


def _character_spans(document: Document, source: SpanSource) -> CharacterSpans:
    if source == "html":
        from data_prep.columns.html_spans import element_spans

        return element_spans(document.text)
    from data_prep.columns.code_spans import code_spans

    return code_spans(document, source)
