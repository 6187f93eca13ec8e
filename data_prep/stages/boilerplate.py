"""Take out the lines that many documents share: menus, licence headers, copyright footers.

Invariant: which lines go depends on the set of documents only. Lines are the same if they are the same without the
white space around them; only BLAKE2b-64 digests are kept of them.

Not meant for code: its common lines (`return None`) are no boilerplate; there use `unit: paragraph`.

1. An observer counts, per unit, the documents that have each line. Memory: at most 60 bytes for every different
   line of the unit and for each of `_WAITING` more.
2. The reduction adds up a range of digests, a bounded slice at a time (`_SLICE` entries, about 100 MB), and keeps
   those that more documents have than allowed.
3. The step takes the lines out. Memory: 8 bytes for every line to take out. A document left without text is dropped.
"""

import functools
import hashlib
import json
import re
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field

from data_prep.section import Positive, Section
from data_prep.sources.document import Document
from data_prep.stages.stage import Decision, Dropped, Observer, Part, Reduction, Step

VERSION = 1

_WAITING = 2**20  # digests that wait to be counted
_SLICE = 2**21  # digests that a reduction handles at a time
_LINE_END, _PARAGRAPH_END = re.compile("(\n)"), re.compile("(\n(?:[^\\S\n]*\n)+)")


class Config(Section):
    """Which lines are too common."""

    kind: Literal["boilerplate"] = "boilerplate"
    unit: Literal["line", "paragraph"] = "line"  # paragraphs are parted by empty lines
    max_documents: Positive = 10  # as many documents may share a line
    max_fraction: float = Field(0.0, ge=0, le=1)  # or as many of all documents, if those are more
    min_chars: Positive = 20  # shorter lines stay


def observer(config: Config) -> Observer:
    """Counts the documents of one unit that have each line."""
    return _Observer(config)


def observing(config: Config) -> Any:
    """What the observer depends on."""
    return [config.unit, config.min_chars]


def step(config: Config, decision: Decision) -> Step:
    """Takes the lines out that the reduction chose."""
    return functools.partial(_take_out, config, decision.folders)


class _Observer:
    def __init__(self, config: Config) -> None:
        self._config = config
        self._waiting = array("Q")
        self._digests, self._counts = np.empty(0, np.uint64), np.empty(0, np.uint32)
        self._documents = 0

    def add(self, document: Document) -> None:
        digests = {_digest(part) for part in _long_parts(self._config, document.text)}
        self._waiting.extend(digests)
        self._documents += 1
        if len(self._waiting) >= _WAITING:
            self._count()

    def save(self, folder: Path) -> dict[str, Any]:
        self._count()
        np.save(folder / "digests.npy", self._digests)
        np.save(folder / "counts.npy", self._counts)
        (folder / "documents.json").write_text(json.dumps(self._documents))
        return {"documents": self._documents, "different": len(self._digests)}

    def _count(self) -> None:
        waiting, self._waiting = np.frombuffer(self._waiting, np.uint64), array("Q")
        ones = np.ones(len(waiting), np.uint32)
        self._digests, self._counts = _add_up([self._digests, waiting], [self._counts, ones])


def _reduce(config: Config, part: Part) -> dict[str, Any]:
    """Write the digests, of this part's range, that more documents have than are allowed."""
    documents = sum(json.loads((folder / "documents.json").read_text()) for folder in part.observed)
    allowed = max(config.max_documents, int(config.max_fraction * documents))
    start, stop = 2**64 * part.number // part.count, 2**64 * (part.number + 1) // part.count
    entries = sum(len(_counted(folder, start, stop)[0]) for folder in part.observed)
    slices = entries // _SLICE + 1  # digests are spread evenly
    bounds = [start + (stop - start) * number // slices for number in range(slices + 1)]
    found = [_common(part.observed, bounds[number], bounds[number + 1], allowed) for number in range(slices)]
    chosen = np.concatenate(found)
    np.save(part.out / "digests.npy", chosen)
    return {"chosen": len(chosen), "allowed_documents": allowed}


REDUCTIONS = (Reduction("common", _reduce, partitioned=True),)


def _common(folders: Sequence[Path], start: int, stop: int, allowed: int) -> np.ndarray:
    counted = [_counted(folder, start, stop) for folder in folders]
    digests, counts = _add_up([digests for digests, _ in counted], [counts for _, counts in counted])
    return digests[counts > allowed]


def _counted(folder: Path, start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
    """The digests of one unit from `start` to before `stop`, and their counts: views of the files."""
    digests = np.load(folder / "digests.npy", mmap_mode="r", allow_pickle=False)
    counts = np.load(folder / "counts.npy", mmap_mode="r", allow_pickle=False)
    first, last = np.searchsorted(digests, np.array([start, stop - 1], np.uint64), "left")
    last += int(last < len(digests) and int(digests[last]) == stop - 1)
    return digests[first:last], counts[first:last]


def _add_up(digests: Sequence[np.ndarray], counts: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Each different digest once, sorted, with the sum of its counts."""
    together = np.concatenate(digests)
    order = np.argsort(together, kind="stable")
    together = together[order]
    starts = np.flatnonzero(np.concatenate(([True], together[1:] != together[:-1]))[: len(together)])
    if not len(starts):
        return together, np.empty(0, np.uint32)
    return together[starts], np.add.reduceat(np.concatenate(counts)[order], starts, dtype=np.uint32)


def _take_out(config: Config, folders: Sequence[Path], documents: Iterable[Document]) -> Iterator[Document | Dropped]:
    parts = [np.load(folder / "digests.npy", allow_pickle=False) for folder in folders]
    common = np.sort(np.concatenate(parts))
    for document in documents:
        text = _without(config, common, document.text)
        if text is document.text:
            yield document
        elif not text.strip():
            yield Dropped(document, "boilerplate", f"every {config.unit} is shared by many documents")
        else:
            yield replace(document, text=text)


def _without(config: Config, common: np.ndarray, text: str) -> str:
    """The text without its common parts and what parts them from the next; the same object if there are none."""
    pieces = _pieces(config, text)
    long = [place for place in range(0, len(pieces), 2) if len(pieces[place].strip()) >= config.min_chars]
    digests = np.fromiter((_digest(pieces[place]) for place in long), np.uint64, len(long))
    found = np.searchsorted(common, digests, "right") > np.searchsorted(common, digests, "left")
    if not found.any():
        return text
    for place in np.asarray(long)[found].tolist():
        pieces[place : place + 2] = ["", ""][: len(pieces[place : place + 2])]
    return "".join(pieces)


def _long_parts(config: Config, text: str) -> Iterator[str]:
    return (piece for piece in _pieces(config, text)[::2] if len(piece.strip()) >= config.min_chars)


def _pieces(config: Config, text: str) -> list[str]:
    """Lines or paragraphs, and between each two of them what parts them."""
    return (_LINE_END if config.unit == "line" else _PARAGRAPH_END).split(text)


def _digest(part: str) -> int:
    encoded = part.strip().encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(encoded, digest_size=8).digest(), "little")
