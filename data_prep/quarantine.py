"""The quarantine: what was left out of the dataset and why, a JSON object per line, in the order of the corpus.

Invariant: the file depends on the corpus and the config alone. It holds the first `MOST_ENTRIES` entries (pass by pass,
unit by unit, in the order of the documents) and, when there were more, a last line that says how many.

A bad input is `{"stage": "read", "path", "offset", "reason", "detail"}`; a dropped document (with
`data.quarantine_dropped: true`) is `{"stage", "id", "source", "reason", "detail", "text", "characters"}`, its text cut
after `TEXT_CHARS` characters.
"""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from data_prep.shards.files import StagedFile, named_errors
from data_prep.sources.document import BadDocument
from data_prep.stages.stage import Dropped

QUARANTINE_NAME = "quarantine.jsonl"
MOST_ENTRIES = 10_000
TEXT_CHARS = 2_000
DETAIL_CHARS = 500


class Quarantine:
    """Entries being written, under a temporary name; there is no file before the first one."""

    def __init__(self, path: Path, *, with_dropped: bool = False) -> None:
        self.entries = 0
        self.file: StagedFile | None = None
        self._path, self._with_dropped = path, with_dropped
        self._digest = hashlib.sha256()

    @property
    def file_digest(self) -> str:
        """SHA-256 of the bytes written so far."""
        return self._digest.hexdigest()

    def add_bad(self, bad: BadDocument) -> None:
        """Take note of a bad input."""
        entry = {"stage": "read", "path": bad.path, "offset": bad.offset, "reason": bad.reason}
        self._add({**entry, "detail": bad.detail[:DETAIL_CHARS]})

    def add_dropped(self, stage: str, dropped: Dropped) -> None:
        """Take note of a document that a stage dropped, if the config asks for it."""
        if not self._with_dropped:
            return
        document = dropped.document
        entry = {"stage": stage, "id": document.id, "source": document.source, "reason": dropped.reason}
        text = {"text": document.text[:TEXT_CHARS], "characters": len(document.text)}
        self._add({**entry, "detail": dropped.detail[:DETAIL_CHARS], **text})

    def join(self, parts: Iterable[tuple[Path, int]]) -> None:
        """Take over what the units wrote: their files, each with its number of entries, also the ones beyond it."""
        for part, count in parts:
            with named_errors(part, "read"), open(part, "rb") as file:
                for line, _ in zip(file, range(min(count, MOST_ENTRIES - self.entries)), strict=False):
                    self._write(line)
            self.entries += count
        if self.entries > MOST_ENTRIES:
            self._write(json.dumps({"left_out": self.entries - MOST_ENTRIES}).encode() + b"\n")

    def discard(self) -> None:
        """Leave nothing behind (a file that was published stays)."""
        if self.file is not None:
            self.file.discard()

    def _add(self, entry: dict[str, Any]) -> None:
        self.entries += 1
        if self.entries <= MOST_ENTRIES:
            self._write(json.dumps(entry).encode() + b"\n")

    def _write(self, line: bytes) -> None:
        self.file = self.file or StagedFile(self._path)
        self.file.write(line)
        self._digest.update(line)
