"""The same text in several languages: by document, by line, by field."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from pyarrow import parquet
from pydantic import ValidationError

from data_prep.errors import InputError
from data_prep.sources import BadDocument, Document, InputSplit, read
from data_prep.sources.config import SourceConfig
from data_prep.sources.inputs import find_inputs


def make(folder: Path, files: dict[str, str | bytes]) -> Path:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return folder


def read_corpus(folder: Path, align: str, languages: tuple[str, ...] = ("de", "en"), **more: Any) -> Iterator[Any]:
    parallel = {"languages": languages, "align": align, **more.pop("parallel", {})}
    config = SourceConfig.model_validate({"paths": str(folder), "parallel": parallel, **more})
    for file in find_inputs(config):
        yield from read(InputSplit(file, 0, file.size), config)


def shown(found: Iterator[Any]) -> list[tuple[str, str, str | None, str | None]]:
    return [(item.id, item.text, item.lang, item.pair) for item in found]


def test_files_whose_names_differ_in_the_language_are_translations(tmp_path: Path) -> None:
    make(tmp_path, {"a.de.txt": "eins", "a.en.txt": "one", "b.en.txt": "two", "c.fr.txt": "trois", "read.me.txt": "x"})
    assert shown(read_corpus(tmp_path, "document")) == [
        ("a.de.txt", "eins", "de", "a.*.txt"),
        ("a.en.txt", "one", "en", "a.*.txt"),
        ("b.en.txt", "two", "en", None),
    ]


def test_folders_may_say_the_language_and_pages_may_be_aligned(tmp_path: Path) -> None:
    page = '<html lang="xx"><p>'
    make(tmp_path, {"de/x/i.html": page + "eins", "en/x/i.html": page + "one", "zh-CN/x/i.html": page + "一"})
    assert shown(read_corpus(tmp_path, "document", ("en", "zh-cn", "de"))) == [
        ("en/x/i.html", "one", "en", "*/x/i.html"),
        ("zh-CN/x/i.html", "一", "zh-cn", "*/x/i.html"),
        ("de/x/i.html", "eins", "de", "*/x/i.html"),
    ]


def test_a_document_whose_translation_is_bad_stands_alone(tmp_path: Path) -> None:
    make(tmp_path, {"a.de.txt": b"\xff", "a.en.txt": "one"})
    bad, document = read_corpus(tmp_path, "document")
    assert bad.describe() == f"{tmp_path}/a.de.txt:1: byte 0xff is not valid utf-8"
    assert (document.text, document.pair) == ("one", None)


@pytest.mark.parametrize("names", [("x.de", "x.en"), ("x.de-en.de", "x.de-en.en"), ("de/x.txt", "en/x.txt")])
def test_lines_of_the_same_number_are_translations(names: tuple[str, str], tmp_path: Path) -> None:
    make(tmp_path, {names[0]: "eins\n\n \ndrei\r\n", names[1]: "one\ntwo\n\nthree"})
    found = shown(read_corpus(tmp_path, "line", source="text", include=["*"]))
    pair = names[0].replace("de/", "*/") if "/" in names[0] else names[0][:-2] + "*"
    assert found == [
        (f"{names[0]}:1", "eins", "de", f"{pair}:1"),
        (f"{names[1]}:1", "one", "en", f"{pair}:1"),
        (f"{names[1]}:2", "two", "en", None),
        (f"{names[0]}:4", "drei", "de", f"{pair}:4"),
        (f"{names[1]}:4", "three", "en", f"{pair}:4"),
    ]


def test_files_with_different_numbers_of_lines_are_misaligned(tmp_path: Path) -> None:
    make(tmp_path, {"x.de.txt": "eins\nzwei\n", "x.en.txt": "one\n"})
    *documents, bad = read_corpus(tmp_path, "line")
    assert [item.text for item in documents] == ["eins", "one"]
    assert bad.reason == "misaligned"
    assert bad.describe() == f"{tmp_path}/x.de.txt: line 2: x.en.txt: fewer lines than the other files"


def test_a_bad_line_costs_its_language_only(tmp_path: Path) -> None:
    make(tmp_path, {"x.de.txt": b"eins\n\xff\n", "x.en.txt": "one\ntwo\n"})
    found = list(read_corpus(tmp_path, "line"))
    assert [item.pair for item in found if isinstance(item, Document)] == ["x.*.txt:1", "x.*.txt:1", None]
    assert [item.describe() for item in found if isinstance(item, BadDocument)] == [
        f"{tmp_path}/x.de.txt: line 2: byte 0xff is not valid utf-8"
    ]


def test_fields_of_a_record_are_translations(tmp_path: Path) -> None:
    records = [
        {"translation": {"de": "eins", "en": "one"}},
        {"translation": {"de": "zwei", "en": None}},
        {"translation": {"de": "", "en": " "}},
        {"translation": {"de": "vier"}},
    ]
    make(tmp_path, {"a.jsonl": "".join(json.dumps(record) + "\n" for record in records)})
    fields = {"fields": {"de": "translation.de", "en": "translation.en"}}
    first, second, third, empty, missing = read_corpus(tmp_path, "field", parallel=fields)
    assert shown(iter([first, second, third])) == [
        ("a.jsonl:0:de", "eins", "de", "a.jsonl:0"),
        ("a.jsonl:0:en", "one", "en", "a.jsonl:0"),
        ("a.jsonl:45:de", "zwei", "de", None),
    ]
    assert [empty.reason, missing.reason] == ["empty", "missing_field"]


def test_columns_of_a_table_are_translations(tmp_path: Path) -> None:
    table = pyarrow.table({"id": [7], "de": ["eins"], "en": ["one"], "score": [0.5]})
    parquet.write_table(table, tmp_path / "a.parquet")
    assert shown(read_corpus(tmp_path, "field", id_field="id")) == [
        ("7:de", "eins", "de", "7"),
        ("7:en", "one", "en", "7"),
    ]


MISTAKES = [
    ({"a.txt": "x"}, "document", "none of 1 files has a language in its name, such as /de/ or .de."),
    ({"a.de.jsonl": "x", "a.en.jsonl": "x"}, "line", "jsonl files cannot be aligned by line"),
    ({"a.de.txt": "x", "a.DE.txt": "x"}, "document", "are the same text in de"),
]


@pytest.mark.parametrize(("files", "align", "message"), MISTAKES)
def test_files_that_cannot_be_aligned_are_one_message(
    files: dict[str, str], align: str, message: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=message):
        list(read_corpus(make(tmp_path, files), align))


@pytest.mark.parametrize(
    "bad",
    [
        {"languages": ["de"]},
        {"languages": ["de", "DE"]},
        {"languages": ["de", "en"], "fields": {"fr": "x"}},
        {"languages": ["de", "en"], "fields": {"de": "x"}, "align": "line"},
    ],
)
def test_a_parallel_section_that_makes_no_sense_is_refused(bad: Any) -> None:
    with pytest.raises(ValidationError):
        SourceConfig.model_validate({"parallel": bad})
