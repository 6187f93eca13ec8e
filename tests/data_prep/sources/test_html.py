"""Pages, in files and in archives."""

import gzip
import io
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from data_prep.sources import BadDocument, Document
from data_prep.sources.page import DEEPEST

PAGE = """<!DOCTYPE html>
<html lang="de-AT"><head><title>Der  Titel
</title><script>var x = 1;</script></head><body>
<nav><ul><li><a href="/">Start</a></li></ul></nav>
<main><h1 class="x">Über uns</h1><p onclick="evil()">Ein <b>Satz</b> mit 1 &lt; 2 &amp;amp; "so".</p>
<ul><li>eins</li><li>zwei</li></ul><pre>  a
    b</pre></main>
<footer>Impressum</footer></body></html>"""


def page(path: Path, content: str | bytes = PAGE) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def test_a_page_is_its_text_with_its_language_and_title(tmp_path: Path, read_file: Callable[..., Any]) -> None:
    [document] = read_file(page(tmp_path / "a.html"), "html")
    assert (document.id, document.lang, document.meta) == ("a.html", "de", {"title": "Der Titel"})
    assert 'Ein Satz mit 1 < 2 &amp; "so".' in document.text
    assert "  a\n    b" in document.text
    assert not [
        word for word in ("var x", "Impressum", "Start", "evil", "<") if word in document.text.replace("1 < 2", "")
    ]


def test_all_of_a_page_can_be_kept(tmp_path: Path, read_file: Callable[..., Any]) -> None:
    [document] = read_file(page(tmp_path / "a.html"), "html", html_content="all")
    assert "Impressum" in document.text
    assert "Start" in document.text


def test_simplified_html_keeps_the_meaning_of_tags_and_no_attributes(
    tmp_path: Path, read_file: Callable[..., Any]
) -> None:
    [document] = read_file(page(tmp_path / "a.html"), "html", html_text="simplified", html_content="all")
    assert document.text.startswith("<title>Der Titel</title>\n")
    for kept in ("<h1>Über uns</h1>", "<li>eins</li>", '<p>Ein Satz mit 1 &lt; 2 &amp;amp; "so".</p>', "<pre>"):
        assert kept in document.text
    assert "class" not in document.text
    assert "evil" not in document.text


ENCODED = [
    ('<html><body><p>größer</p><meta charset="utf-8">', "utf-8", ""),
    ('<meta charset="iso-8859-1"><p>größer “x”', "cp1252", ""),
    ('<meta http-equiv="Content-Type" content="text/html; charset=ISO-8859-2"><p>größer žluť', "iso-8859-2", ""),
    ('<meta charset="iso-8859-1"><p>größer 𝖨', "utf-8", ""),  # whose bytes windows-1252 does not have
    ("<p>größer", "utf-16-le", "\ufeff"),
    ("<p>größer", "utf-16-be", "\ufeff"),
    ("<p>größer", "utf-8", "\ufeff"),
]


@pytest.mark.parametrize(("content", "encoding", "mark"), ENCODED)
def test_a_page_is_read_in_the_encoding_it_declares(
    content: str, encoding: str, mark: str, tmp_path: Path, read_file: Callable[..., Any]
) -> None:
    [document] = read_file(page(tmp_path / "a.html", (mark + content).encode(encoding)), "html")
    assert document.text.startswith("größer")


@pytest.mark.parametrize("name", ["unicode_escape", "utf-7", "zip", "martian"])
def test_a_page_cannot_choose_an_encoding_that_no_browser_knows(
    name: str, tmp_path: Path, read_file: Callable[..., Any]
) -> None:
    content = f'<meta charset="{name}"><p>x \\u0041 +AGE-'
    [document] = read_file(page(tmp_path / "a.html", content), "html")
    assert document.text == "x \\u0041 +AGE-"


BAD_PAGES = [
    (b"<p>gr\xf6\xdfer</p>", "undecodable", ":1: byte 0xf6 is not valid utf-8"),
    (b'<meta charset="iso-8859-1"><p>gr\xf6\x9der</p>', "undecodable", ":1: byte 0x9d is not valid cp1252"),
    (b"<html><body><script>x</script></body>", "empty", "the document is empty"),
    (b"", "empty", "the document is empty"),
    (b"<p>" + b"x" * 5000, "too_long", "at most 2,048 are taken"),
]


@pytest.mark.parametrize(("content", "reason", "message"), BAD_PAGES, ids=lambda value: str(value)[:20])
def test_a_bad_page_is_named(
    content: bytes, reason: str, message: str, tmp_path: Path, read_file: Callable[..., Any]
) -> None:
    [bad] = read_file(page(tmp_path / "a.html", content), "html", max_document_bytes=2048)
    assert bad.reason == reason
    assert message in bad.describe()


@pytest.mark.parametrize("tag", ["div", "b", "span", "table", "font"])
def test_a_page_nested_without_end_is_refused_before_it_is_parsed(
    tag: str, tmp_path: Path, read_file: Callable[..., Any]
) -> None:
    [bad] = read_file(page(tmp_path / "a.html", f"<{tag}>" * 2_000_000), "html")
    assert bad.reason == "too_deep"


@pytest.mark.parametrize("tag", ["p", "li", "a name=x", "br", "img src=x", "td", "option", "h1"])
def test_a_long_page_with_elements_that_nobody_closed_is_read(
    tag: str, tmp_path: Path, read_file: Callable[..., Any]
) -> None:
    [document] = read_file(page(tmp_path / "a.html", f"<p>text<{tag}>\n" * (DEEPEST + 1)), "html", html_content="all")
    assert isinstance(document, Document)
    assert document.text.count("text") == DEEPEST + 1


def archive(path: Path, members: list[tuple[tarfile.TarInfo, bytes]]) -> Path:
    with tarfile.open(path, "w") as file:
        for member, data in members:
            member.size = len(data)
            file.addfile(member, io.BytesIO(data))
    if path.name.endswith(("gz", "zst")):
        path.write_bytes(gzip.compress(path.read_bytes()))
    return path


def member(name: str, kind: bytes = tarfile.REGTYPE, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


@pytest.mark.parametrize("name", ["pages.tar", "pages.tar.gz", "pages.tgz"])
def test_pages_of_an_archive_are_documents_and_nothing_is_unpacked(
    name: str, tmp_path: Path, read_file: Callable[..., Any]
) -> None:
    members = [(member(f"site/{number}.html"), f"<p>page {number}".encode()) for number in range(5)]
    path = archive(tmp_path / name, [*members, (member("site/logo.png"), b"png")])
    found = read_file(path, "html")
    assert [(item.id, item.text) for item in found] == [(f"{name}/site/{n}.html", f"page {n}") for n in range(5)]
    assert [file.name for file in tmp_path.iterdir()] == [name]


def test_names_in_an_archive_are_labels_and_links_are_not_followed(
    tmp_path: Path, read_file: Callable[..., Any]
) -> None:
    secret = page(tmp_path / "secret.html", "<p>secret")
    path = archive(
        tmp_path / "a.tar",
        [
            (member("/etc/x.html"), b"<p>one"),
            (member("../../x.html"), b"<p>two"),
            (member("soft.html", tarfile.SYMTYPE, str(secret)), b""),
            (member("hard.html", tarfile.LNKTYPE, "/etc/x.html"), b""),
            (member("pipe.html", tarfile.FIFOTYPE), b""),
        ],
    )
    found = read_file(path, "html")
    assert [item.text for item in found if isinstance(item, Document)] == ["one", "two"]
    assert [item.reason for item in found if isinstance(item, BadDocument)] == ["not_a_file"] * 3
    assert found[2].describe().startswith(f"{path}: soft.html: a link or a device")


def test_an_archive_cut_short_keeps_what_comes_before_and_is_named(
    tmp_path: Path, read_file: Callable[..., Any]
) -> None:
    path = archive(tmp_path / "a.tar", [(member(f"{n}.html"), b"<p>page " + b"x" * 700) for n in range(4)])
    data = path.read_bytes()
    for kept in (700, 2000, 4700):
        path.write_bytes(data[:kept])
        *documents, bad = read_file(path, "html")
        assert bad.reason == "broken_file"
        assert len(documents) == kept // 1536
    path.write_bytes(b"no archive at all" * 100)
    [bad] = read_file(path, "html")
    assert bad.describe().startswith(f"{path}: not a tar archive, or cut short")


def test_a_page_of_an_archive_that_is_too_large_is_passed_over(tmp_path: Path, read_file: Callable[..., Any]) -> None:
    members = [(member("a.html"), b"<p>a"), (member("b.html"), b"<p>" + b"b" * 9999), (member("c.html"), b"<p>c")]
    found = read_file(archive(tmp_path / "a.tar", members), "html", max_document_bytes=1024)
    assert [type(item).__name__ for item in found] == ["Document", "BadDocument", "Document"]
    assert found[1].reason == "too_long"
