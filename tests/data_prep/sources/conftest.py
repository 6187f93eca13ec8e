"""Reading one file as one split, or in several."""

import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from data_prep.sources import BadDocument, Document, InputFile, InputSplit, read
from data_prep.sources.config import SourceConfig

Found = list[Document | BadDocument]


def input_file(path: Path, source: Any, **more: Any) -> InputFile:
    status = path.stat()
    return InputFile(str(path), path.name, source, status.st_size, str(status.st_mtime_ns), **more)


def read_file(path: Path, source: Any, bounds: Sequence[int] = (), **config: Any) -> Found:
    """What a file yields, read in the splits between `bounds`."""
    checked, file = SourceConfig.model_validate(config), input_file(path, source)
    pairs = itertools.pairwise([0, *sorted(bounds), file.size])
    return [found for start, stop in pairs for found in read(InputSplit(file, start, stop), checked)]


@pytest.fixture(name="read_file", scope="session")
def _read_file() -> Callable[..., Found]:
    return read_file
