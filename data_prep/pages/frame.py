"""The frame of every page: one file to look at, without network, scripts or fonts of its own.

Invariant: no text is ever taken for markup. All markup is in templates, which escape whatever they are given, and in
`style.css`; a page forbids itself to load or run anything (`page.html.jinja`).
"""

import functools
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from data_prep.pages import words


@functools.cache
def template(folder: Path, name: str) -> Any:
    """The template `name` in `folder`, which extends `page.html.jinja`."""
    environment = Environment(
        loader=FileSystemLoader([folder, Path(__file__).parent], encoding="utf-8"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=words.shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"count": words.count, "counted": words.counted, "short": words.short, "size": words.size}
    return environment.get_template(name)


def as_bytes(page: str) -> bytes:
    """A rendered page as it stands in its file; half characters, which some texts hold, are spelled out."""
    return page.encode("utf-8", "backslashreplace")
