"""Crawls."""

import gzip
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from warcio.statusandheaders import StatusAndHeaders
from warcio.warcwriter import WARCWriter

from data_prep.sources import BadDocument, Document


def crawl(path: Path, pages: list[tuple[str, bytes, dict[str, str]]]) -> list[int]:
    """Write a crawl with requests, responses and metadata; where its responses begin."""
    places, content = [], io.BytesIO()
    writer = WARCWriter(content, gzip=False)
    writer.write_record(writer.create_warcinfo_record("crawl.warc", {"software": "test"}))
    for url, body, headers in pages:
        places.append(content.tell())
        http = StatusAndHeaders("200 OK", list(headers.items()), protocol="HTTP/1.1")
        writer.write_record(writer.create_warc_record(url, "response", payload=io.BytesIO(body), http_headers=http))
        writer.write_record(writer.create_warc_record(url, "metadata", payload=io.BytesIO(b"fetched: now")))
    data = content.getvalue()
    path.write_bytes(gzip.compress(data) if path.name.endswith(".gz") else data)
    return places


HTML = {"Content-Type": "text/html; charset=utf-8"}
PAGES = [
    (f"http://a.example/{n}", f'<html lang="fr"><title>T{n}</title><p>page numéro {n}'.encode(), HTML) for n in range(9)
]


@pytest.mark.parametrize("name", ["a.warc", "a.warc.gz"])
def test_html_responses_are_documents_with_url_title_and_language(
    name: str, tmp_path: Path, read_file: Callable[..., Any]
) -> None:
    others = [("http://a.example/x.png", b"png", {"Content-Type": "image/png"}), ("http://a.example/none", b"?", {})]
    places = crawl(tmp_path / name, [*PAGES[:5], *others, *PAGES[5:]])
    found = read_file(tmp_path / name, "warc")
    assert [item.text for item in found] == [f"page numéro {n}" for n in range(9)]
    assert [item.id for item in found[:2]] == [f"{name}:{place}" for place in places[:2]]
    assert (found[3].lang, found[3].meta) == ("fr", {"url": "http://a.example/3", "title": "T3"})


def test_http_encodings_are_undone_and_the_header_says_the_charset(
    tmp_path: Path, read_file: Callable[..., Any]
) -> None:
    packed = gzip.compress(b"<p>packed")
    chunked = b"5\r\n<p>ch\r\n5\r\nunked\r\n0\r\n\r\n"
    pages = [
        ("http://a.example/1", packed, {**HTML, "Content-Encoding": "gzip"}),
        ("http://a.example/2", chunked, {**HTML, "Transfer-Encoding": "chunked"}),
        ("http://a.example/3", "<p>größer".encode("latin-1"), {"Content-Type": "text/html; charset=ISO-8859-1"}),
        ("http://a.example/4", packed[:10] + b"\xff\xff\xff" + packed[13:], {**HTML, "Content-Encoding": "gzip"}),
        ("http://a.example/5", b"<p>last", HTML),
    ]
    crawl(tmp_path / "a.warc", pages)
    found = read_file(tmp_path / "a.warc", "warc")
    assert [item.text if isinstance(item, Document) else item.reason for item in found] == [
        "packed",
        "chunked",
        "größer",
        "broken_record",
        "last",
    ]


def test_plain_text_conversions_are_documents(tmp_path: Path, read_file: Callable[..., Any]) -> None:
    content = io.BytesIO()
    writer = WARCWriter(content, gzip=True)
    for text in ("eins", "zwei"):
        record = writer.create_warc_record(
            f"http://a.example/{text}", "conversion", payload=io.BytesIO(text.encode()), warc_content_type="text/plain"
        )
        writer.write_record(record)
    path = tmp_path / "a.wet.gz"
    path.write_bytes(content.getvalue())
    assert [(item.text, item.meta["url"]) for item in read_file(path, "warc")] == [
        ("eins", "http://a.example/eins"),
        ("zwei", "http://a.example/zwei"),
    ]


@pytest.mark.parametrize("name", ["a.warc", "a.warc.gz"])
def test_a_crawl_cut_short_anywhere_never_gives_half_a_page(
    name: str, tmp_path: Path, read_file: Callable[..., Any]
) -> None:
    path = tmp_path / name
    crawl(path, PAGES)
    data, whole = path.read_bytes(), read_file(path, "warc")
    for kept in range(20, len(data), len(data) // 60):
        path.write_bytes(data[:kept])
        found = read_file(path, "warc")
        documents = [item for item in found if isinstance(item, Document)]
        assert documents == whole[: len(documents)]
        assert [item.reason for item in found[len(documents) :]] in ([], ["broken_file"])
        assert name == "a.warc" or isinstance(found[-1], BadDocument)


@pytest.mark.parametrize("length", ["99999999", "10", "-5", "x", ""])
def test_a_record_with_a_wrong_length_is_named_and_is_no_document(
    length: str, tmp_path: Path, read_file: Callable[..., Any]
) -> None:
    path = tmp_path / "a.warc"
    places = crawl(path, PAGES)
    data = path.read_bytes()
    head, tail = data[: places[4]], data[places[4] :]
    before, _, after = tail.partition(b"Content-Length: ")
    path.write_bytes(head + before + f"Content-Length: {length}\r\n".encode() + after.partition(b"\r\n")[2])
    found = read_file(path, "warc")
    assert [item.text for item in found[:4]] == [f"page numéro {n}" for n in range(4)]
    assert isinstance(found[4], BadDocument)


def test_what_is_no_crawl_is_named(tmp_path: Path, read_file: Callable[..., Any]) -> None:
    path = tmp_path / "a.warc"
    path.write_bytes(b"<html><p>not a crawl</p></html>\r\n" * 50)
    [bad] = read_file(path, "warc")
    assert bad.describe().startswith(f"{path}: not WARC, or damaged after 0 records")


def test_a_page_that_expands_without_end_is_cut_off(tmp_path: Path, read_file: Callable[..., Any]) -> None:
    bomb = gzip.compress(b"<p>" + b"x" * 50_000_000)
    crawl(tmp_path / "a.warc", [("http://a.example/", bomb, {**HTML, "Content-Encoding": "gzip"}), *PAGES[:1]])
    bad, document = read_file(tmp_path / "a.warc", "warc", max_document_bytes=2**20)
    assert bad.reason == "too_long"
    assert document.text == "page numéro 0"
