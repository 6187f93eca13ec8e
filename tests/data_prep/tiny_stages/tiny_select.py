"""A finish: each training document once, and once more for every `per` documents of the corpus. Can be killed."""

import os
import signal
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from data_prep.finish.finish import Finish, TokenizedDocument
from data_prep.section import Section
from data_prep.sources.document import Document
from data_prep.stages.stage import Decision, Part, Reduction

VERSION = 1


class Config(Section):
    kind: Literal["select"] = "select"
    per: int = 100


class _Count:
    def __init__(self) -> None:
        self._documents = self._tokens = 0

    def add(self, document: Document, token_ids: np.ndarray) -> None:
        self._documents += 1
        self._tokens += len(token_ids)

    def save(self, folder: Path) -> dict[str, Any]:
        np.save(folder / "count.npy", np.array([self._documents, self._tokens]), allow_pickle=False)
        return {"documents": self._documents, "tokens": self._tokens}


def observer(config: Config, vocab_size: int) -> _Count:
    return _Count()


def observing(config: Config) -> Any:
    return None


def _reduce_sum(config: Config, part: Part) -> dict[str, Any]:
    total = sum(np.load(folder / "count.npy", allow_pickle=False) for folder in part.inputs)
    np.save(part.out / "count.npy", total, allow_pickle=False)
    return {"documents": int(total[0])}


REDUCTIONS = (Reduction("sum", _reduce_sum),)


def finish(config: Config, decision: Decision, split: str) -> Finish:
    [folder] = decision.folders
    copies = 1 + int(np.load(folder / "count.npy", allow_pickle=False)[0]) // config.per

    def repeat(documents: Iterable[TokenizedDocument]) -> Iterator[TokenizedDocument]:
        for document in documents:
            yield document
            for number in range(1, copies if split == "train" else 1):
                yield replace(document, id=f"{document.id}#{number}")
            if os.environ.get("TINY_KILL") == "finish" and decision.unit == 1:
                os.kill(os.getpid(), signal.SIGKILL)

    return repeat
