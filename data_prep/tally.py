"""What a unit's documents went through: counts by stage, examples, and what is left in the end.

Invariant: of every stage, documents in = documents out + documents dropped, each drop under its reason.

1. `Tally.through` puts counters around a stage's step and takes the dropped documents out of the stream.
2. `Contents` counts what the last pass leaves: lengths, languages, sources, and the range of its hashes.
Both give plain JSON for the task's record; `data_prep.summary` adds records up.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from data_prep.errors import SpanwrightError
from data_prep.quarantine import Quarantine
from data_prep.sources.document import BadDocument, Document
from data_prep.stages.stage import Dropped, Step

MOST_EXAMPLES = 3  # of each reason
EXCERPT_CHARS = 200
MOST_SOURCES = 50  # the largest ones of a unit; the rest is summed


@dataclass
class Dropping:
    """Documents dropped for one reason. `bytes` is 0 for what never became a document."""

    documents: int = 0
    bytes: int = 0
    examples: list[dict[str, str]] = field(default_factory=list)


@dataclass
class StageTally:
    """What went into a stage, what came out, and what was dropped, by reason. `place` counts stages from 0 (read)."""

    place: int
    stage: str
    documents_in: int = 0
    bytes_in: int = 0
    documents: int = 0
    bytes: int = 0
    dropped: dict[str, Dropping] = field(default_factory=dict)

    def drop(self, reason: str, num_bytes: int) -> Dropping:
        """Count a dropped document; what was counted of its reason."""
        dropping = self.dropped.setdefault(reason, Dropping())
        dropping.documents += 1
        dropping.bytes += num_bytes
        return dropping

    def check(self) -> None:
        """SpanwrightError unless every document that went in came out or was dropped."""
        dropped = sum(dropping.documents for dropping in self.dropped.values())
        if self.documents_in != self.documents + dropped:
            raise SpanwrightError(
                f"stage {self.stage}: {self.documents_in:,} documents went in, {self.documents:,} came out and "
                f"{dropped:,} were dropped: a defect of the stage, please report it"
            )


class Tally:
    """The stages of one pass over one unit."""

    def __init__(self, quarantine: Quarantine) -> None:
        self.stages: list[StageTally] = []
        self._quarantine = quarantine

    def read(self, documents: Iterable[Document | BadDocument]) -> Iterator[Document]:
        """The good documents; bad ones are counted under stage `read`."""
        return self._read(self._new(0, "read"), documents)

    def through(self, place: int, stage: str, step: Step, documents: Iterable[Document]) -> Iterator[Document]:
        """What `step` leaves of the documents."""
        return self._through(self._new(place, stage), step, documents)

    def check(self) -> None:
        """SpanwrightError naming the first stage that lost a document, or made one up."""
        for stage in self.stages:
            stage.check()

    def _read(self, tally: StageTally, documents: Iterable[Document | BadDocument]) -> Iterator[Document]:
        for document in documents:
            tally.documents_in += 1
            if isinstance(document, BadDocument):
                dropping = tally.drop(document.reason, 0)
                if len(dropping.examples) < MOST_EXAMPLES:
                    dropping.examples.append({"id": document.path, "detail": document.describe(), "excerpt": ""})
                self._quarantine.add_bad(document)
                continue
            num_bytes = document.num_bytes
            tally.bytes_in += num_bytes
            tally.documents += 1
            tally.bytes += num_bytes
            yield document

    def _through(self, tally: StageTally, step: Step, documents: Iterable[Document]) -> Iterator[Document]:
        for item in step(_counted_in(documents, tally)):
            if isinstance(item, Dropped):
                self._dropped(tally, item)
                continue
            tally.documents += 1
            tally.bytes += item.num_bytes
            yield item

    def _new(self, place: int, stage: str) -> StageTally:
        tally = StageTally(place, stage)
        self.stages.append(tally)
        return tally

    def _dropped(self, tally: StageTally, item: Dropped) -> None:
        document = item.document
        dropping = tally.drop(item.reason, document.num_bytes)
        if len(dropping.examples) < MOST_EXAMPLES:
            example = {"id": document.id, "detail": item.detail, "excerpt": document.text[:EXCERPT_CHARS]}
            dropping.examples.append(example)
        self._quarantine.add_dropped(tally.stage, item)


class Contents:
    """What is left of the corpus: documents by length, language and source."""

    def __init__(self) -> None:
        self._lengths: Counter[int] = Counter()
        self._languages: dict[str, list[int]] = {}
        self._sources: dict[str, list[int]] = {}
        self._hashes: tuple[int, int] | None = None

    def add(self, document: Document) -> None:
        """Count a document."""
        value = group_hash(document)
        lowest, highest = self._hashes or (value, value)
        self._hashes = (min(lowest, value), max(highest, value))
        num_bytes = document.num_bytes
        self._lengths[document.num_chars.bit_length()] += 1
        for table, key in ((self._languages, document.lang or ""), (self._sources, document.source)):
            row = table.setdefault(key, [0, 0])
            row[0] += 1
            row[1] += num_bytes

    def record(self) -> dict[str, Any]:
        """Plain JSON: lowest and highest of the `hashes` (none without documents), and what `summary` describes."""
        return {
            "hashes": list(self._hashes or ()),
            "lengths": {str(bits): count for bits, count in sorted(self._lengths.items())},
            "languages": dict(sorted(self._languages.items())),
            **largest(self._sources),
        }


def largest(sources: dict[str, list[int]]) -> dict[str, Any]:
    """The `MOST_SOURCES` sources with most bytes; `other_sources` is [sources, documents, bytes] of the rest."""
    ordered = sorted(sources, key=lambda name: (-sources[name][1], name))
    rest = [sources[name] for name in ordered[MOST_SOURCES:]]
    return {
        "sources": {name: sources[name] for name in sorted(ordered[:MOST_SOURCES])},
        "other_sources": [len(rest), sum(row[0] for row in rest), sum(row[1] for row in rest)],
    }


def group_hash(document: Document) -> int:
    """The first 8 bytes of the SHA-256 of a document's group (its pair, else its text) as a number.

    It decides whether the document is held out: groups stay together.
    """
    digest = document.sha256 if document.pair is None else hashlib.sha256(document.pair.encode()).digest()
    return int.from_bytes(digest[:8], "big")


def _counted_in(documents: Iterable[Document], tally: StageTally) -> Iterator[Document]:
    for document in documents:
        tally.documents_in += 1
        tally.bytes_in += document.num_bytes
        yield document
