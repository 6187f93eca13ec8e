"""A local stage: appends what is in a file of its own to every text."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Literal

from data_prep.section import Section
from data_prep.sources.document import Document
from data_prep.stages.stage import Dropped, Step

VERSION = 1


class Config(Section):
    kind: Literal["suffix"] = "suffix"
    path: str


def inputs(config: Config) -> list[Path]:
    return [Path(config.path)]


def step(config: Config) -> Step:
    suffix = Path(config.path).read_text()

    def append(documents: Iterable[Document]) -> Iterator[Document | Dropped]:
        for document in documents:
            yield replace(document, text=document.text + suffix)

    return append
