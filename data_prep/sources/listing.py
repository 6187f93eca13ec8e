"""What one of `data.paths` leads to: the files of a folder, of a glob, of a store, or of the standard library, sorted.

Files that are named (or match a glob) are always taken. Files of a folder are taken when their kind is known, `include`
(where given) matches and `exclude` does not; hidden files and folders are left out. Links to folders are not followed.
"""

import fnmatch
import glob
import os
import re
import stat
import sysconfig
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass
from pathlib import Path

from data_prep.errors import InputError
from data_prep.sources import storage
from data_prep.sources.config import SourceConfig, SourceKind
from data_prep.sources.kinds import EXTENSIONS, kind_of
from data_prep.sources.saved_dataset import data_files, is_saved_dataset

STDLIB = "python:stdlib"
_NOT_STDLIB = {"site-packages", "dist-packages", "test", "tests", "idle_test", "__pycache__"}


@dataclass(frozen=True)
class Found:
    """A file, and its name below the folder it was found in. `real` is its path without links."""

    path: str
    name: str
    source: SourceKind
    size: int
    version: str
    real: str


def find(path: str, config: SourceConfig) -> Iterator[Found]:
    """The files that `path` leads to; InputError when there are none, or one is of unknown kind."""
    if path.startswith("python:"):
        yield from _standard_library(path, config)
    elif storage.is_remote(path):
        yield from _nonempty(path, _in_store(path, config), config)
    elif (place := Path(path).expanduser()).is_dir():
        found = _saved_dataset(place) if is_saved_dataset(place) else _in_folder(place, config)
        yield from _nonempty(path, found, config)
    elif place.is_file():
        yield _named(str(place), place.name, config)
    elif place.exists():
        raise InputError(f"data.paths: {path}: neither a file nor a folder")
    elif glob.has_magic(path):
        yield from _nonempty(path, _by_glob(str(place), config), config)
    else:
        raise InputError(f"data.paths: {path}: no such file or folder")


def _standard_library(path: str, config: SourceConfig) -> Iterator[Found]:
    if path != STDLIB:
        raise InputError(f"data.paths: {path}: unknown corpus; the one there is: {STDLIB}")
    for found in _in_folder(Path(sysconfig.get_paths()["stdlib"]), config, _NOT_STDLIB):
        if found.name.endswith(".py"):
            yield found


def _by_glob(pattern: str, config: SourceConfig) -> Iterator[Found]:
    root = os.path.dirname(re.split(r"[*?[]", pattern, maxsplit=1)[0])
    for match in sorted(glob.glob(pattern, recursive=True)):
        if os.path.isfile(match):
            yield _named(match, Path(match).relative_to(root).as_posix(), config)


def _in_folder(root: Path, config: SourceConfig, left_out: Set[str] = frozenset()) -> Iterator[Found]:
    real_root = os.path.realpath(root)
    for name, is_link in sorted(_walk(str(root), "", left_out)):
        source = config.source or kind_of(name)
        if source and _wanted(name, source, config):
            path = f"{root}/{name}"
            real = os.path.realpath(path) if is_link else f"{real_root}/{name}"
            if found := _local(path, name, source, real):
                yield found


def _walk(folder: str, prefix: str, left_out: Set[str]) -> Iterator[tuple[str, bool]]:
    """Names of files below `folder`, and whether each is a link."""
    folders = [(folder, prefix)]
    while folders:
        folder, prefix = folders.pop()
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    if entry.name.startswith("."):
                        continue
                    if entry.is_dir():
                        if not entry.is_symlink() and entry.name not in left_out:
                            folders.append((entry.path, f"{prefix}{entry.name}/"))
                    else:
                        yield prefix + entry.name, entry.is_symlink()
        except OSError as error:
            raise InputError(f"data.paths: {error.filename}: cannot be listed: {error.strerror}") from error


def _saved_dataset(folder: Path) -> Iterator[Found]:
    for path in data_files(folder):
        name = path.relative_to(folder).as_posix()
        if found := _local(str(path), name, "dataset", os.path.realpath(path)):
            yield found


def _in_store(url: str, config: SourceConfig) -> Iterator[Found]:
    root, files = storage.listed(url)
    is_folder = bool(root) and not re.search(r"[*?[]", url)
    for file in files:
        name = file.path.removeprefix(root) if root else file.path.rpartition("/")[2]
        source = config.source or kind_of(name)
        if root and any(part.startswith(".") for part in name.split("/")):
            continue
        if is_folder:
            if source is None or not _wanted(name, source, config):
                continue
        elif source is None:
            raise _unknown_kind(file.path)
        yield Found(file.path, name, source, file.size, file.version, file.path)


def _wanted(name: str, source: SourceKind, config: SourceConfig) -> bool:
    if _matches(name, config.exclude):
        return False
    return _matches(name, config.include) if config.include else name.lower().endswith(EXTENSIONS[source])


def _matches(name: str, patterns: Sequence[str]) -> bool:
    last = name.rpartition("/")[2]
    return any(fnmatch.fnmatchcase(name, pattern) or fnmatch.fnmatchcase(last, pattern) for pattern in patterns)


def _named(path: str, name: str, config: SourceConfig) -> Found:
    source = config.source or kind_of(name)
    if source is None:
        raise _unknown_kind(path)
    found = _local(path, name, source, os.path.realpath(path))
    if found is None:
        raise InputError(f"data.paths: {path}: neither a file nor a folder")
    return found


def _local(path: str, name: str, source: SourceKind, real: str) -> Found | None:
    """A local file with its size and version; None for what is no regular file."""
    try:
        status = os.stat(path)
    except FileNotFoundError:
        return None  # a link that leads nowhere
    except OSError as error:
        raise InputError(f"data.paths: {path}: cannot be read: {error.strerror}") from error
    if not stat.S_ISREG(status.st_mode):
        return None
    if not os.access(path, os.R_OK, effective_ids=True):
        raise InputError(f"data.paths: {path}: no permission to read it")
    return Found(os.path.abspath(path), name, source, status.st_size, str(status.st_mtime_ns), real)


def _unknown_kind(path: str) -> InputError:
    kinds = "; ".join(f"{kind}: {_shortened(extensions)}" for kind, extensions in EXTENSIONS.items())
    *names, last = EXTENSIONS
    return InputError(
        f"{path}: cannot tell what is in it from its name; set data.source to {', '.join(names)} or {last} ({kinds})"
    )


def _nonempty(path: str, found: Iterator[Found], config: SourceConfig) -> Iterator[Found]:
    first = next(found, None)
    if first is None:
        raise InputError(f"data.paths: {path}: holds nothing to read; {_looked_for(config)}")
    yield first
    yield from found


def _looked_for(config: SourceConfig) -> str:
    if config.include:
        return f"looked for {' '.join(config.include)} (data.include)"
    if config.source:
        extensions = _shortened(EXTENSIONS[config.source])
        return f"looked for {extensions} (data.source={config.source}); to take every file, add data.include=['*']"
    return (
        "looked for files of a known kind (.txt .md .jsonl .parquet .html .warc.gz .py ...); to take every file as "
        "text, give data.source=text data.include=['*']"
    )


def _shortened(extensions: Sequence[str]) -> str:
    return " ".join(extensions[:4]) + (" ..." if len(extensions) > 4 else "")
