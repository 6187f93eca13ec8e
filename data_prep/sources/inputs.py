"""Which files make the corpus: `data.paths` to an ordered list of files, each once.

Invariant: the list depends on the paths and what lies there, never on the order a file system lists it in.

1. Each path is a file, a folder, a glob, or `python:stdlib`; paths keep their order, files of a folder are sorted.
2. Files that are named (or match a glob) are always taken. Files of a folder are taken when their kind is known,
   `include` (where given) matches and `exclude` does not; hidden files and folders are left out.
3. The same file named twice (also through links) is taken once, at its first place.
4. Every file gets a name within the corpus: relative to the folder it was found in; longer where two would be equal.
"""

import fnmatch
import glob
import os
import sysconfig
from collections import Counter
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass
from pathlib import Path

from data_prep.config import DataConfig, SourceKind
from data_prep.errors import InputError
from data_prep.sources import code, jsonl, text

EXTENSIONS: dict[SourceKind, tuple[str, ...]] = {
    "text": text.EXTENSIONS,
    "jsonl": jsonl.EXTENSIONS,
    "code": code.EXTENSIONS,
}
_KIND_OF = {extension: kind for kind, extensions in EXTENSIONS.items() for extension in extensions}

STDLIB = "python:stdlib"
_NOT_STDLIB = {"site-packages", "dist-packages", "test", "tests", "idle_test", "__pycache__"}


@dataclass(frozen=True)
class InputFile:
    """One file of the corpus. `digest` is the SHA-256 of its bytes ("" until it was read)."""

    path: str
    name: str
    source: SourceKind
    size: int
    modified_ns: int
    digest: str = ""


@dataclass(frozen=True)
class _Found:
    path: Path
    name: str
    source: SourceKind


def find_inputs(config: DataConfig) -> list[InputFile]:
    """The files of the corpus, in order; InputError for a path that leads nowhere or to a file of unknown kind."""
    if not config.paths:
        raise InputError("data.paths is empty: give your corpus, for example data.paths=[my_texts.jsonl]")
    first: dict[str, _Found] = {}
    for path in config.paths:
        try:
            for found in _find(path, config):
                first.setdefault(os.path.realpath(found.path), found)
        except PermissionError as error:
            raise InputError(f"data.paths: {error.filename}: no permission to read it") from error
    files = list(first.values())
    return [_input_file(found, name) for found, name in zip(files, _unique_names(files), strict=True)]


def corpus_name(config: DataConfig) -> str:
    """`data.name`, or what the first path is called."""
    if config.name or not config.paths:
        return config.name or "data"
    first = config.paths[0].removeprefix("python:")
    stem = Path(first).stem if not glob.has_magic(first) else Path(first).parent.name
    return "".join(char if char.isascii() and (char.isalnum() or char in "._-") else "-" for char in stem) or "data"


def _find(path: str, config: DataConfig) -> Iterator[_Found]:
    if path.startswith("python:"):
        yield from _find_stdlib(path, config)
        return
    place = Path(path).expanduser()
    if place.is_dir():
        yield from _nonempty(path, _find_in_folder(place, config), config)
    elif place.is_file():
        yield _named(place, place.name, config)
    elif place.exists():
        raise InputError(f"data.paths: {path}: neither a file nor a folder")
    elif glob.has_magic(path):
        yield from _nonempty(path, _find_by_glob(str(place), config), config)
    else:
        raise InputError(f"data.paths: {path}: no such file or folder")


def _find_stdlib(path: str, config: DataConfig) -> Iterator[_Found]:
    if path != STDLIB:
        raise InputError(f"data.paths: {path}: unknown corpus; the one there is: {STDLIB}")
    root = Path(sysconfig.get_paths()["stdlib"])
    for found in _find_in_folder(root, config, _NOT_STDLIB):
        if found.name.endswith(".py"):
            yield found


def _find_by_glob(pattern: str, config: DataConfig) -> Iterator[_Found]:
    fixed = pattern[: glob.escape(pattern).find("[")] if glob.has_magic(pattern) else pattern
    root = Path(fixed).parent if not fixed.endswith("/") else Path(fixed)
    for match in sorted(glob.glob(pattern, recursive=True)):
        if os.path.isfile(match):
            yield _named(Path(match), Path(match).relative_to(root).as_posix(), config)


def _find_in_folder(root: Path, config: DataConfig, left_out: Set[str] = frozenset()) -> Iterator[_Found]:
    names = []
    for folder, subfolders, files in os.walk(root, onerror=_unreadable):
        subfolders[:] = [name for name in subfolders if not name.startswith(".") and name not in left_out]
        names += [(Path(folder) / name).relative_to(root).as_posix() for name in files if not name.startswith(".")]
    for name in sorted(names):
        source = config.source or _KIND_OF.get(Path(name).suffix.lower())
        if source and _wanted(name, source, config) and (root / name).is_file():
            yield _Found(root / name, name, source)


def _wanted(name: str, source: SourceKind, config: DataConfig) -> bool:
    if _matches(name, config.exclude):
        return False
    return _matches(name, config.include) if config.include else name.lower().endswith(EXTENSIONS[source])


def _matches(name: str, patterns: Sequence[str]) -> bool:
    last = name.rpartition("/")[2]
    return any(fnmatch.fnmatchcase(name, pattern) or fnmatch.fnmatchcase(last, pattern) for pattern in patterns)


def _named(path: Path, name: str, config: DataConfig) -> _Found:
    source = config.source or _KIND_OF.get(path.suffix.lower())
    if source is None:
        kinds = "; ".join(f"{kind}: {_shortened(extensions)}" for kind, extensions in EXTENSIONS.items())
        raise InputError(
            f"{path}: cannot tell what is in it from its name; set data.source to text, jsonl or code ({kinds})"
        )
    return _Found(path, name, source)


def _nonempty(path: str, found: Iterator[_Found], config: DataConfig) -> Iterator[_Found]:
    first = next(found, None)
    if first is None:
        raise InputError(f"data.paths: {path}: holds nothing to read; {_looked_for(config)}")
    yield first
    yield from found


def _looked_for(config: DataConfig) -> str:
    if config.include:
        return f"looked for {' '.join(config.include)} (data.include)"
    if config.source:
        extensions = _shortened(EXTENSIONS[config.source])
        return f"looked for {extensions} (data.source={config.source}); to take every file, add data.include=['*']"
    return (
        "looked for files of a known kind (.txt .md .jsonl .py ...); to take every file as text, "
        "give data.source=text data.include=['*']"
    )


def _shortened(extensions: Sequence[str]) -> str:
    return " ".join(extensions[:4]) + (" ..." if len(extensions) > 4 else "")


def _unreadable(error: OSError) -> None:
    raise InputError(f"data.paths: {error.filename}: cannot be listed: {error.strerror}") from error


def _unique_names(files: Sequence[_Found]) -> list[str]:
    """Names within the corpus; where two files would share one, their parent folders' names go in front."""
    names = [found.name for found in files]
    for depth in range(1, 1 + max((len(found.path.parts) for found in files), default=0)):
        counts = Counter(names)
        if len(counts) == len(names):
            break
        names = [
            name if counts[name] == 1 else "/".join(found.path.absolute().parts[-len(Path(found.name).parts) - depth :])
            for found, name in zip(files, names, strict=True)
        ]
    return names


def _input_file(found: _Found, name: str) -> InputFile:
    try:
        status = os.stat(found.path)
    except OSError as error:
        raise InputError(f"data.paths: {found.path}: cannot be read: {error.strerror}") from error
    if not os.access(found.path, os.R_OK, effective_ids=True):
        raise InputError(f"data.paths: {found.path}: no permission to read it")
    return InputFile(str(found.path.absolute()), name, found.source, status.st_size, status.st_mtime_ns)
