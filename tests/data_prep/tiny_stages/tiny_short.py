"""A local stage: drops texts of fewer than `chars` characters."""

from collections.abc import Iterable, Iterator
from typing import Literal

from data_prep.section import Section
from data_prep.sources.document import Document
from data_prep.stages.stage import Dropped, Step

VERSION = 1


class Config(Section):
    kind: Literal["short"] = "short"
    chars: int = 10


def step(config: Config) -> Step:
    def drop_short(documents: Iterable[Document]) -> Iterator[Document | Dropped]:
        for document in documents:
            if len(document.text) < config.chars:
                yield Dropped(document, "too_short", f"{len(document.text)} characters")
            else:
                yield document

    return drop_short
