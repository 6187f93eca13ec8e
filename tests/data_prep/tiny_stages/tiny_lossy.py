"""A defective stage: swallows every second document."""

from collections.abc import Iterable, Iterator
from typing import Literal

from data_prep.section import Section
from data_prep.sources.document import Document
from data_prep.stages.stage import Dropped, Step

VERSION = 1


class Config(Section):
    kind: Literal["lossy"] = "lossy"


def step(config: Config) -> Step:
    def swallow(documents: Iterable[Document]) -> Iterator[Document | Dropped]:
        for number, document in enumerate(documents):
            if number % 2:
                yield document

    return swallow
