"""Spans in characters and in tokens: code of several languages, markup, and texts made to hurt."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_prep.columns.code_spans import code_spans
from data_prep.columns.html_spans import element_spans
from data_prep.columns.span_sources import packages
from data_prep.columns.spans import KINDS, CharacterSpans, in_tokens
from data_prep.sources.document import Document

CODE = {
    ".py": ("def f(ä):  # hé\n    return ä.b", ["f", "ä", "# hé", "ä", "b"]),
    ".js": ("const a = b.c; // d", ["a", "b", "c", "// d"]),
    ".ts": ("let a: T = 1 /* b */", ["a", "T", "/* b */"]),
    ".tsx": ("let a = <B/>", ["a", "B"]),
    ".java": ("class A { int b; /* c */ }", ["A", "b", "/* c */"]),
    ".c": ("int main(void) { /* hé */ return foo(x); }", ["main", "/* hé */", "foo", "x"]),
    ".cpp": ("int f() { return a->b; } // c", ["f", "a", "b", "// c"]),
    ".go": ("package p\n// hi\nfunc f(a T) {}", ["p", "// hi", "f", "a", "T"]),
    ".rs": ("fn f(a: T) { // x\n}", ["f", "a", "T", "// x"]),
}


def texts(text: str, spans: CharacterSpans) -> list[str]:
    return [text[start:stop] for start, stop, _ in sorted(zip(*map(list, spans), strict=True))]


@pytest.mark.parametrize("extension", CODE)
def test_identifiers_and_comments_of_each_language_are_found(extension: str) -> None:
    text, expected = CODE[extension]
    spans = code_spans(Document("x", text, f"folder/file{extension.upper()}"), "code")
    assert texts(text, spans) == expected
    comments = [KINDS[kind] for _, _, kind in zip(*spans, strict=True)].count("comment")
    assert comments == sum(part.startswith(("#", "/")) for part in expected)


def test_code_of_no_known_language_has_no_spans_and_python_can_be_given() -> None:
    document = Document("x", "a = 1", "notes.txt")
    assert texts(document.text, code_spans(document, "code")) == []
    assert texts(document.text, code_spans(document, "python")) == ["a"]


def test_code_that_does_not_parse_still_has_spans() -> None:
    document = Document("x", "print 'a', b  # old\ndef (:\n  c = ", "x.py")
    assert {"b", "# old", "c"} <= set(texts(document.text, code_spans(document, "python")))


def test_elements_nest_and_unclosed_ones_end_with_what_holds_them() -> None:
    text = "<body><p>a <b>c</b><br><ul><li>x<li>y</ul></q><!-- z --><Foo-1/>t</body>"
    spans = [(text[a:b], KINDS[kind]) for a, b, kind in sorted(zip(*element_spans(text), strict=True))]
    assert spans == [
        (text, "body"),
        ("<p>a <b>c</b><br><ul><li>x<li>y</ul></q><!-- z --><Foo-1/>t", "p"),
        ("<b>c</b>", "b"),
        ("<br>", "element"),
        ("<ul><li>x<li>y</ul>", "ul"),
        ("<li>x<li>y", "li"),
        ("<li>y", "li"),
        ("<!-- z -->", "comment"),
        ("<Foo-1/>", "element"),
    ]
    assert texts("1 < 2 and <3> </b>", element_spans("1 < 2 and <3> </b>")) == []
    assert texts("a <b>c", element_spans("a <b>c")) == ["<b>c"]


@pytest.mark.parametrize(
    ("piece", "spans"),
    [("<a>", 99_999), ("<a ", 0), ("<!--", 1), ("<a/", 0), ("</a>", 0), ("<a></b>", 99_999), ("<a></a>", 99_999)],
)
def test_markup_made_to_hurt_is_read_in_one_go(piece: str, spans: int) -> None:
    assert len(element_spans(piece * 99_999).starts) == spans


def test_a_span_of_tokens_covers_its_characters_with_the_fewest_tokens() -> None:
    starts = np.array([0, 2, 5, 5, 5, 6], np.int32)  # the character at 5 is three bytes
    spans = CharacterSpans([1, 2, 5, 0, 3, 3, 4], [2, 5, 6, 9, 4, 4, 4], [0, 0, 1, 2, 0, 0, 0])
    assert in_tokens(spans, starts).tolist() == [[0, 6, 2], [0, 1, 0], [1, 2, 0], [2, 5, 1]]
    assert in_tokens(CharacterSpans([], [], []), starts).shape == (0, 3)
    assert in_tokens(spans, np.zeros(0, np.int32)).shape == (0, 3)


@given(st.lists(st.integers(1, 5), min_size=1, max_size=20), st.data())
def test_covering_tokens_hold_the_span_and_their_inner_ones_do_not(lengths: list[int], data: st.DataObject) -> None:
    starts = np.cumsum([0, *lengths])
    start = data.draw(st.integers(0, int(starts[-1]) - 1))
    stop = data.draw(st.integers(start + 1, int(starts[-1])))
    [[first, last, _]] = in_tokens(CharacterSpans([start], [stop], [0]), starts[:-1]).tolist()
    assert starts[first] <= start < starts[first + 1]
    assert starts[last - 1] < stop <= starts[last]


def test_what_spans_depend_on_is_named() -> None:
    assert packages(None) == packages("html") == []
    assert packages("python") == ["tree-sitter", "tree-sitter-python"]
    assert "tree-sitter-rust" in packages("code")
