"""Names that may appear in a manifest or an index, and the only place they become file names.

Every name is checked before a path is built from it: plain ASCII, relative, one path component, no dots, no links
(links are refused when a file is opened, see `files.py`).
"""

import re
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator

MANIFEST_NAME = "manifest.json"
CARD_NAME = "card.html"  # for people; no reader needs it, no digest covers it
TAR_SUFFIX, INDEX_SUFFIX = ".tar", ".index"

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}", re.ASCII)
_COLUMN = re.compile(r"[a-z][a-z0-9_]{0,31}", re.ASCII)
_FILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}(\.[A-Za-z0-9_-]{1,32}){0,3}", re.ASCII)
RESERVED_COLUMNS = ("tokens", "docs", "ids")


def check_name(name: str) -> str:
    """`name` itself when it can name a shard, a split or a folder; else ValueError."""
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} is not a plain name (letters, digits, '-' and '_'; no dots or slashes)")
    return name


def check_file_name(name: str) -> str:
    """`name` itself when it can name a file inside a folder (a plain name with extensions); else ValueError."""
    if not _FILE.fullmatch(name):
        raise ValueError(f"{name!r} is not a plain file name (no folders, no '..')")
    return name


def check_column_name(name: str) -> str:
    """`name` itself when it can name a column of a chunk; else ValueError."""
    if not _COLUMN.fullmatch(name) or name in RESERVED_COLUMNS:
        raise ValueError(f"{name!r} is not a column name (lower case letters, digits, '_'; not {RESERVED_COLUMNS})")
    return name


Name = Annotated[str, AfterValidator(check_name)]
FileName = Annotated[str, AfterValidator(check_file_name)]
ColumnName = Annotated[str, AfterValidator(check_column_name)]


def is_dataset(folder: Path | str) -> bool:
    """Whether a dataset lies in `folder`, or did: there is a manifest."""
    return (Path(folder) / MANIFEST_NAME).exists()


def tar_path(folder: Path, name: str) -> Path:
    """Where the tar of the shard `name` lies."""
    return folder / (check_name(name) + TAR_SUFFIX)


def index_path(folder: Path, name: str) -> Path:
    """Where the index of the shard `name` lies."""
    return folder / (check_name(name) + INDEX_SUFFIX)
