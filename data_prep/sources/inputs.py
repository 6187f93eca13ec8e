"""Which files make the corpus: `data.paths` to an ordered list of files, each once.

Invariant: the list depends on the paths and what lies there, never on the order a file system lists it in.

1. Each path is a file, a folder, a glob, the URL of one of them, or `python:stdlib` (`listing`); paths keep their
   order, files of a folder are sorted.
2. The same file named twice (also through links) is taken once, at its first place.
3. Every file gets a name within the corpus: relative to the folder it was found in; longer where two would be equal.
4. With `data.parallel`, files that are one text in several languages become one (`alignment`).
"""

import glob
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from data_prep.errors import InputError
from data_prep.sources.alignment import aligned
from data_prep.sources.config import SourceConfig
from data_prep.sources.document import InputFile
from data_prep.sources.listing import Found, find

__all__ = ["InputFile", "corpus_name", "find_inputs"]


def find_inputs(config: SourceConfig) -> list[InputFile]:
    """The files of the corpus, in order; InputError for a path that leads nowhere or to a file of unknown kind."""
    if not config.paths:
        raise InputError("data.paths is empty: give your corpus, for example data.paths=[my_texts.jsonl]")
    first: dict[str, Found] = {}
    for path in config.paths:
        try:
            for found in find(path, config):
                first.setdefault(found.real, _named_in_utf8(found))
        except PermissionError as error:
            raise InputError(f"data.paths: {error.filename}: no permission to read it") from error
    files = list(first.values())
    inputs = [
        InputFile(found.path, name, found.source, found.size, found.version)
        for found, name in zip(files, _unique_names(files), strict=True)
    ]
    parallel = config.parallel
    return inputs if parallel is None or parallel.align == "field" else aligned(inputs, parallel)


def _named_in_utf8(found: Found) -> Found:
    """The file; InputError where its name is none that documents can carry."""
    try:
        found.name.encode()
    except UnicodeEncodeError as error:
        name = os.fsencode(found.path).decode(errors="backslashreplace")
        raise InputError(f"data.paths: {name}: the file's name is not UTF-8; rename it, or leave it out") from error
    return found


def corpus_name(config: SourceConfig) -> str:
    """`data.name`, or what the first path is called."""
    if config.name or not config.paths:
        return config.name or "data"
    first = config.paths[0].removeprefix("python:")
    stem = Path(first).stem if not glob.has_magic(first) else Path(first).parent.name
    return "".join(char if char.isascii() and (char.isalnum() or char in "._-") else "-" for char in stem) or "data"


def _unique_names(files: Sequence[Found]) -> list[str]:
    """Names within the corpus; where two files would share one, their parent folders' names go in front."""
    names = [found.name for found in files]
    counts = Counter(names)
    depth = 0
    while len(counts) < len(names):
        depth += 1
        names = [
            name if counts[name] == 1 else "/".join(Path(found.path).parts[-len(Path(found.name).parts) - depth :])
            for found, name in zip(files, names, strict=True)
        ]
        counts = Counter(names)
    return names
