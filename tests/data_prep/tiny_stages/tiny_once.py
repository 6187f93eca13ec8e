"""A global stage: of texts that are equal up to case, the first of the corpus stays. Two reductions, one in parts.

A reduction whose name is in the environment's TINY_KILL ends its process with SIGKILL.
"""

import hashlib
import os
import signal
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np

from data_prep.section import Section
from data_prep.sources.document import Document
from data_prep.stages.stage import Decision, Dropped, Part, Reduction, Step

VERSION = 1


class Config(Section):
    kind: Literal["once"] = "once"


class _Keys:
    def __init__(self) -> None:
        self._keys: list[int] = []

    def add(self, document: Document) -> None:
        digest = hashlib.sha256(document.text.lower().encode()).digest()
        self._keys.append(int.from_bytes(digest[:4], "big"))

    def save(self, folder: Path) -> dict[str, Any]:
        np.save(folder / "keys.npy", np.array(self._keys, np.int64), allow_pickle=False)
        return {"documents": len(self._keys)}


def observer(config: Config) -> _Keys:
    return _Keys()


def _reduce_copies(config: Config, part: Part) -> dict[str, Any]:
    """Copies whose key belongs to the part: rows of (unit, place in the unit)."""
    _maybe_die("copies")
    seen, copies = set[int](), list[tuple[int, int]]()
    for unit, folder in enumerate(part.observed):
        for place, key in enumerate(np.load(folder / "keys.npy", allow_pickle=False).tolist()):
            if key % part.count == part.number:
                if key in seen:
                    copies.append((unit, place))
                seen.add(key)
    np.save(part.out / "copies.npy", np.array(copies, np.int64).reshape(-1, 2), allow_pickle=False)
    return {"copies": len(copies)}


def _reduce_join(config: Config, part: Part) -> dict[str, Any]:
    _maybe_die("join")
    copies = np.concatenate([np.load(folder / "copies.npy", allow_pickle=False) for folder in part.inputs])
    np.save(part.out / "copies.npy", copies, allow_pickle=False)
    return {"copies": len(copies)}


REDUCTIONS = (Reduction("copies", _reduce_copies, partitioned=True), Reduction("join", _reduce_join))


def step(config: Config, decision: Decision) -> Step:
    [folder] = decision.folders
    copies = {
        place for unit, place in np.load(folder / "copies.npy", allow_pickle=False).tolist() if unit == decision.unit
    }

    def drop_copies(documents: Iterable[Document]) -> Iterator[Document | Dropped]:
        for place, document in enumerate(documents):
            yield Dropped(document, "copy", "there before") if place in copies else document

    return drop_copies


def _maybe_die(name: str) -> None:
    if os.environ.get("TINY_KILL") == name:
        os.kill(os.getpid(), signal.SIGKILL)
