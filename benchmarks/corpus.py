"""Text found on this machine to measure on: the Python standard library, manual pages and documentation.

Invariant: the same files give the same texts in the same order; markup (roff, HTML) is taken away, text is not changed.

Natural text is grouped by language: manual pages by their folder, documentation as English unless its HTML says
otherwise. Files of your own come in as the group `own`.
"""

import gzip
import html
import re
import sysconfig
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

MANUALS, DOCUMENTATION = "usr/share/man", "usr/share/doc"  # below /, or where packages were unpacked
SHORTEST_CHARS = 400  # what is left of a page that only refers to another is no text

_DOCUMENTS = (".txt", ".html", ".htm", ".rst", ".md")
_LANGUAGE = re.compile(r"<html[^>]*\blang=[\"']?([a-zA-Z]{2,3})")
_NOT_TEXT = re.compile(r"<(script|style)\b.*?</\1>|<!--.*?-->|<[^>]*>", re.DOTALL | re.IGNORECASE)
_ROFF = re.compile(r"^[.'].*$|\\f(?:\[.*?\]|\(..|.)|\\[&|^]", re.MULTILINE)
_ROFF_LETTERS = {r"\-": "-", r"\(aq": "'", r"\(dq": '"', r"\(bu": "\u2022", r"\e": "\\", r"\ ": " "}
_BLANK_LINES = re.compile(r"[ \t]*\n\s*\n+")


def natural_texts(limit_bytes: int, unpacked: Iterable[Path] = ()) -> dict[str, list[str]]:
    """Different texts by language, at most about `limit_bytes` of each, languages by name.

    They are this machine's, and those of Debian packages that `unpacked` folders hold (`dpkg-deb -x`).
    """
    groups: dict[str, dict[str, None]] = {}
    taken: dict[str, int] = {}
    for root in (Path("/"), *unpacked):
        for language, text in (*_manuals(root / MANUALS), *_documentation(root / DOCUMENTATION)):
            texts = groups.setdefault(language, {})
            if len(text) >= SHORTEST_CHARS and taken.get(language, 0) < limit_bytes and text not in texts:
                texts[text] = None
                taken[language] = taken.get(language, 0) + len(text.encode())
    return {language: list(texts) for language, texts in sorted(groups.items()) if texts}


def code_texts(limit_bytes: int) -> list[str]:
    """Source files of the standard library, at most about `limit_bytes`."""
    return list(_until(limit_bytes, _read_all(sorted(Path(sysconfig.get_path("stdlib")).glob("**/*.py")))))


def own_texts(paths: Iterable[Path], limit_bytes: int) -> list[str]:
    """The files at `paths` and below, at most about `limit_bytes`."""
    files = [file for path in paths for file in (sorted(path.rglob("*")) if path.is_dir() else [path])]
    return list(_until(limit_bytes, _read_all(files)))


def _manuals(manuals: Path) -> Iterator[tuple[str, str]]:
    for path in sorted(manuals.glob("**/man[1-9]/*")):
        folder = path.parent.parent
        language = "en" if folder == manuals else re.split(r"[_.@]", folder.name)[0]
        for text in _read_all([path]):
            yield language, without_roff(text)


def _documentation(documentation: Path) -> Iterator[tuple[str, str]]:
    for path in sorted(documentation.rglob("*")):
        name = path.name.removesuffix(".gz")
        if not name.endswith(_DOCUMENTS):
            continue
        for text in _read_all([path]):
            said = _LANGUAGE.search(text[:2000])
            yield said[1].lower() if said else "en", without_tags(text) if "<html" in text[:2000].lower() else text


def without_roff(text: str) -> str:
    """A manual page without its requests."""
    text = _ROFF.sub("", text)
    for escape, letter in _ROFF_LETTERS.items():
        text = text.replace(escape, letter)
    return _BLANK_LINES.sub("\n\n", text)


def without_tags(text: str) -> str:
    """A page without its tags."""
    return _BLANK_LINES.sub("\n\n", html.unescape(_NOT_TEXT.sub("", text)))


def _read_all(paths: Iterable[Path]) -> Iterator[str]:
    """The UTF-8 files among `paths`; links and other encodings are passed over."""
    for path in paths:
        if path.is_symlink() or not path.is_file():
            continue
        try:
            data = path.read_bytes()
            yield (gzip.decompress(data) if path.suffix == ".gz" else data).decode()
        except (OSError, EOFError, zlib.error, UnicodeDecodeError):
            continue


def _until(limit_bytes: int, texts: Iterable[str]) -> Iterator[str]:
    taken = 0
    for text in texts:
        if taken >= limit_bytes:
            return
        taken += len(text.encode())
        yield text
