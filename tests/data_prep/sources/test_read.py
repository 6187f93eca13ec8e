import itertools
import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_prep.errors import InputError
from data_prep.sources import BadDocument, Document, InputFile, InputSplit, read
from data_prep.sources.config import SourceConfig


def split_of(path: Path, source: Any, start: int = 0, stop: int | None = None) -> InputSplit:
    status = path.stat()
    end = status.st_size if stop is None else stop
    return InputSplit(InputFile(str(path), path.name, source, status.st_size, str(status.st_mtime_ns)), start, end)


def read_all(path: Path, source: Any, **config: Any) -> list[Document | BadDocument]:
    return list(read(split_of(path, source), SourceConfig.model_validate(config)))


def read_in_splits(path: Path, source: Any, bounds: list[int], **config: Any) -> list[Document | BadDocument]:
    checked = SourceConfig.model_validate(config)
    edges = [0, *sorted(bounds), path.stat().st_size]
    pairs = itertools.pairwise(edges)
    return [found for start, stop in pairs for found in read(split_of(path, source, start, stop), checked)]


def one(found: list[Document | BadDocument]) -> Document:
    [document] = found
    assert isinstance(document, Document)
    return document


def test_a_text_file_is_one_document_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"\xef\xbb\xbf  one\r\n\ttwo \n\n")
    document = one(read_all(path, "text"))
    assert (document.id, document.text, document.source) == ("a.txt", "  one\r\n\ttwo \n\n", "a.txt")


def test_lines_are_documents_with_their_offset_as_id(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"one\n\n two \r\n\t\nthree")
    found = read_all(path, "text", document="line")
    assert [(doc.id, doc.text) for doc in found if isinstance(doc, Document)] == [
        ("a.txt:0", "one"),
        ("a.txt:5", " two "),
        ("a.txt:14", "three"),
    ]


def test_paragraphs_are_documents(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"\n\none\ntwo\n \t\nthree\n\n\nfour\n  five\n")
    found = read_all(path, "text", document="paragraph")
    assert [doc.text for doc in found if isinstance(doc, Document)] == ["one\ntwo", "three", "four\n  five"]


LINES = st.lists(st.sampled_from(["a", "bb", " c ", "", "", " ", "long line " * 3]), max_size=25)


@settings(max_examples=200, deadline=None)
@given(lines=LINES, end=st.sampled_from(["", "\n", "\r\n"]), cuts=st.lists(st.floats(0, 1), max_size=5))
@pytest.mark.parametrize("document", ["line", "paragraph"])
def test_any_byte_ranges_give_the_same_documents(
    document: str, lines: list[str], end: str, cuts: list[float], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("cut") / "a.txt"
    path.write_text("\n".join(lines) + end, newline="")
    bounds = [int(cut * path.stat().st_size) for cut in cuts]
    assert read_in_splits(path, "text", bounds, document=document) == read_all(path, "text", document=document)


def test_every_pair_of_cuts_of_a_jsonl_file_gives_the_same_documents(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps({"text": f"text {n}" * (n % 3)}) + "\n" * (1 + n % 2) for n in range(6)))
    whole = read_all(path, "jsonl")
    assert [type(found).__name__ for found in whole] == ["BadDocument", "Document", "Document"] * 2
    for first in range(path.stat().st_size):
        for second in range(first, path.stat().st_size, 7):
            assert read_in_splits(path, "jsonl", [first, second]) == whole


def test_jsonl_takes_the_named_fields(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"body": "x\\ny", "key": 7, "text": "no"}\n')
    document = one(read_all(path, "jsonl", text_field="body", id_field="key"))
    assert (document.id, document.text) == ("7", "x\ny")
    path.write_text('\n{"text": "no id"}\n')
    assert one(read_all(path, "jsonl")).id == "a.jsonl:1"


BAD_LINES = [
    (b'{"text": "x"', "bad_json", "not JSON"),
    (b"[" * 100_000, "bad_json", "not JSON"),
    (b'["text"]', "wrong_type", "expected an object"),
    (b'{"body": "x", "n": 1}', "missing_field", r"no field 'text' \(it has: body, n\); set data.text_field"),
    (b'{"text": 3}', "wrong_type", "field 'text' is a number, expected a string; set data.text_field"),
    (b'{"text": null}', "wrong_type", "expected a string"),
    (b'{"text": "  \\n"}', "empty", "empty"),
    (b'{"text": "a\\ud800"}', "undecodable", r"lone surrogate U\+D800 at character 1"),
    (b'{"text": "\xff"}', "undecodable", "byte 0xff is not valid utf-8"),
]


@pytest.mark.parametrize(("line", "reason", "message"), BAD_LINES, ids=lambda value: str(value)[:30])
def test_a_bad_line_is_named_with_its_file_and_line(line: bytes, reason: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"text": "good"}\n\n' + line + b'\n{"text": "also good"}\n')
    first, bad, last = read_all(path, "jsonl")
    assert isinstance(first, Document)
    assert isinstance(last, Document)
    assert isinstance(bad, BadDocument)
    assert bad.reason == reason
    assert bad.describe().startswith(f"{path}:3: ")
    with pytest.raises(AssertionError, match=message):
        raise AssertionError(bad.describe())


SURROGATE = '"\\ud800x"'
BAD_NAMES = [
    ({"id_field": "id"}, f'{{"text": "a", "id": {SURROGATE}}}', "id"),
    ({"lang_field": "lang"}, f'{{"text": "a", "lang": {SURROGATE}}}', "language"),
    (
        {"id_field": "id", "parallel": {"align": "field", "languages": ["en", "de"]}},
        f'{{"en": "a", "de": "b", "id": {SURROGATE}}}',
        "id",
    ),
]


@pytest.mark.parametrize(("options", "line", "what"), BAD_NAMES, ids=lambda value: str(value)[:30])
def test_names_with_lone_surrogates_make_a_document_bad(
    options: dict[str, Any], line: str, what: str, tmp_path: Path
) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(line + "\n")
    for bad in (found := read_all(path, "jsonl", **options)):
        assert isinstance(bad, BadDocument)
        assert bad.reason == "undecodable"
        assert bad.describe() == f"{path}:1: the {what} is not a Unicode text: lone surrogate U+D800 at character 0"
    assert len(found) == (2 if "parallel" in options else 1)


def test_undecodable_text_names_the_line_of_the_byte(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"fine\nalso fine\nnot \xe9 fine\n")
    [bad] = read_all(path, "text")
    assert isinstance(bad, BadDocument)
    assert bad.describe() == f"{path}:3: byte 0xe9 is not valid utf-8"


@pytest.mark.parametrize(("name", "source"), [("a.txt", "text"), ("a.c", "code")])
def test_a_file_with_nul_bytes_is_no_text(name: str, source: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(b"ELF\0\0\1")
    [bad] = read_all(path, source)
    assert isinstance(bad, BadDocument)
    assert bad.describe() == f"{path}:1: a NUL byte at character 3: not a text"


@pytest.mark.parametrize("document", ["file", "paragraph"])
def test_a_document_that_is_too_long_is_named(document: str, tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"short\n\n" + b"0123456789\n" * 200 + b"\n\nlast\n")
    found = read_all(path, "text", document=document, max_document_bytes=1024)
    assert [item.reason if isinstance(item, BadDocument) else item.text for item in found] == (
        ["too_long"] if document == "file" else ["short", "too_long", "last"]
    )


def test_fields_may_lie_within_others_and_say_the_language(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"doc": {"body": "x"}, "a.b": "dotted", "lang": "de"}\n')
    document = one(read_all(path, "jsonl", text_field="doc.body", lang_field="lang"))
    assert (document.text, document.lang) == ("x", "de")
    assert one(read_all(path, "jsonl", text_field="a.b")).text == "dotted"


def test_python_files_are_read_in_the_encoding_they_declare(tmp_path: Path) -> None:
    path = tmp_path / "a.py"
    path.write_bytes(b"# -*- coding: latin-1 -*-\nx = '\xe9'\n")
    assert one(read_all(path, "code")).text == "# -*- coding: latin-1 -*-\nx = '\u00e9'\n"
    path.write_bytes(b"# coding: martian\n")
    [bad] = read_all(path, "code")
    assert isinstance(bad, BadDocument)
    assert "martian" in bad.describe()


def test_a_file_that_changed_since_the_plan_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("before")
    split = split_of(path, "text")
    path.write_text("after it")
    with pytest.raises(InputError, match="changed while the data was being prepared"):
        list(read(split, SourceConfig()))
    os.unlink(path)
    with pytest.raises(InputError, match="No such file"):
        list(read(split, SourceConfig()))
