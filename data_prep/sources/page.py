"""An HTML page to a document, by resiliparse: its text, the language it declares, and its title.

1. The bytes are decoded as the page says (byte order mark, HTTP header, meta element), else as UTF-8, strictly. Bytes
   that are not in the encoding it says and are in UTF-8 are taken for that: pages are converted, and still say what
   they were in before.
2. A page nested so deep that parsing takes time with the square of its size (a bomb) is refused before it is parsed.
3. The text is plain, or `simplified` HTML: title, headings, paragraphs, lists, preformatted text, and no attributes (in
   the spirit of HTLM, Aghajanyan et al. 2021). `html_content: main` leaves out what resiliparse takes for menus,
   headers and footers, unless nothing would remain.
"""

import contextlib
import html
import re
from collections.abc import Mapping
from typing import Any

from resiliparse.extract.html2text import extract_plain_text
from resiliparse.parse.encoding import map_encoding_to_html5
from resiliparse.parse.html import HTMLTree

from data_prep.sources.config import SourceConfig
from data_prep.sources.document import BadDocument, Document, Place

DEEPEST = 10_000
_MARKS = ((b"\xef\xbb\xbf", "utf-8"), (b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be"))
_CHARSET = re.compile(rb"<meta[^>]{0,200}?charset\s*=\s*[\"']?\s*([A-Za-z0-9_:.-]{1,40})", re.IGNORECASE)
_CHARSET_BYTES = 4096
# Elements that stay open until they are closed; `<p>`, `<li>`, `<td>`, ... end by themselves.
_NESTING = re.compile(
    rb"<(/?)(?:abbr|article|aside|b|big|blockquote|center|cite|code|del|details|div|dl|em|fieldset|figure|font|form|i"
    rb"|ins|kbd|label|main|map|nav|object|ol|pre|q|s|section|small|span|strike|strong|sub|sup|svg|table|tt|u|ul|var"
    rb")[\s>/]",
    re.IGNORECASE,
)
_LANGUAGE = re.compile(r"[A-Za-z]{2,3}(?=$|[-_])")


def page_document(
    data: bytes,
    place: Place,
    id: str,
    config: SourceConfig,
    *,
    charset: str | None = None,
    meta: Mapping[str, Any] | None = None,
) -> Document | BadDocument:
    """The document of a page's bytes. `charset` is what the HTTP header said; `title` is added to `meta`."""
    if len(data) > place.limit:
        return place.too_long()
    if too_deep(data):
        return place.bad("too_deep", f"elements within elements, more than {DEEPEST:,} deep")
    try:
        tree = HTMLTree.parse(_decoded(data, charset))
    except UnicodeDecodeError as error:
        return place.undecodable(error)
    except ValueError as error:
        return place.bad("bad_html", f"cannot be parsed: {error}")
    title = " ".join((tree.title or "").split())
    text = _text(tree, title, config)
    return place.document(text, id, lang=_language(tree), meta={**(meta or {}), **({"title": title} if title else {})})


def too_deep(data: bytes) -> bool:
    """Whether more than DEEPEST elements may be open at a time."""
    if len(data) < 4 * DEEPEST:
        return False
    depth = 0
    for match in _NESTING.finditer(data):
        depth = max(0, depth - 1) if match[1] else depth + 1
        if depth > DEEPEST:
            return True
    return False


def _decoded(data: bytes, charset: str | None) -> str:
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            return data[len(mark) :].decode(encoding)
    declared = _CHARSET.search(data, 0, _CHARSET_BYTES)
    name = charset or (declared[1].decode() if declared else "utf-8")
    encoding = map_encoding_to_html5(name, fallback_utf8=True) or "utf-8"
    if encoding.startswith("utf-16"):
        return data.decode()
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        with contextlib.suppress(UnicodeDecodeError):
            return data.decode()
        error.encoding = encoding  # most are "charmap" to Python
        raise


def _text(tree: HTMLTree, title: str, config: SourceConfig) -> str:
    simplified = config.html_text == "simplified"
    form: Any = "minimal_html" if simplified else True
    text = extract_plain_text(tree, preserve_formatting=form, main_content=config.html_content == "main")
    if config.html_content == "main" and (not text or text.isspace()):
        text = extract_plain_text(tree, preserve_formatting=form, main_content=False)
    if simplified:
        text = text.replace("&quot;", '"')  # needs no escape where there are no attributes, and text is full of it
    if simplified and title and text:
        return f"<title>{html.escape(title, quote=False)}</title>\n{text}"
    return text


def _language(tree: HTMLTree) -> str | None:
    root: Any = tree.body.parent if tree.body is not None else None
    declared = _LANGUAGE.match((root.getattr("lang") or root.getattr("xml:lang") or "").strip()) if root else None
    return declared[0].lower() if declared else None
