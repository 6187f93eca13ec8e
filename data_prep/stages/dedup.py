"""dedup: of documents with the same text, or nearly the same, one stays.

Invariant: what is dropped depends on the documents and their order alone; of every set of copies one stays, and
aligned documents (of one `pair`) are dropped together or not at all.

Near means: the sets of the texts' shingles (runs of `ngram` words, see `duplicates.shingles`) have a Jaccard
similarity of at least `threshold`. It is estimated from 256 lanes of MinHash: a pair exactly at the threshold is found
with probability >= 0.97. For 0.8 the line of the estimate is 0.75: a pair at 0.7 passes with probability < 0.05, at
0.65 with probability < 0.001. Copies of copies are copies: clusters are connected components.

1. The observer takes a digest and a signature of every document: 300 bytes, and 4 for each of up to 34 columns on disk.
2. Reductions: `links` (a range of keys per part), `components` (one task), `survivors` (a range of clusters per part).
3. The step drops what the survivors' parts list for its unit, naming the survivor.
"""

import hashlib
from array import array
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field, field_validator, model_validator

from data_prep.section import Section
from data_prep.sources.document import Document
from data_prep.stages.duplicates.components import connect
from data_prep.stages.duplicates.links import link
from data_prep.stages.duplicates.minhash import ALGORITHM_VERSION, LANES, Lsh, signatures
from data_prep.stages.duplicates.observed import Strings, columns, save_batches, save_order
from data_prep.stages.duplicates.survivors import decide, dropped_in
from data_prep.stages.stage import Decision, Dropped, Observer, Part, Reduction, Step

VERSION = 200 + ALGORITHM_VERSION  # raise the hundreds when the code here gives another result

ONLY_DROPS = True

_BATCH_CHARACTERS, _BATCH_TEXTS = 2**18, 512


class NearConfig(Section):
    """When texts are nearly the same."""

    threshold: Annotated[float, Field(ge=0.5, le=0.95)] = 0.8  # Jaccard similarity of the sets of shingles
    ngram: Annotated[int, Field(ge=1, le=64)] = 5  # words in a shingle


class Config(Section):
    """Which copies are dropped."""

    kind: Literal["dedup"] = "dedup"
    exact: bool = True  # texts that are equal
    normalize: bool = False  # texts are also equal if they differ only in case and in the amount of white space
    near: NearConfig | None = NearConfig()  # true for the defaults; null or false for exact copies only

    @field_validator("near", mode="before")
    @classmethod
    def _yes_or_no(cls, value: Any) -> Any:
        return {True: NearConfig(), False: None}[value] if isinstance(value, bool) else value

    @model_validator(mode="after")
    def _something_to_do(self) -> "Config":
        if not self.exact and not self.near:
            raise ValueError("exact and near are both off: switch one on, or leave the stage out")
        if self.normalize and not self.exact:
            raise ValueError("normalize is about exact copies, and exact is off")
        return self

    @property
    def lsh(self) -> Lsh | None:
        """How near duplicates are found."""
        return Lsh.of(self.near.threshold) if self.near else None


def observer(config: Config) -> Observer:
    """Takes digests and signatures of the documents of one unit."""
    return _Observer(config)


def step(config: Config, decision: Decision) -> Step:
    """Drops the copies of one unit."""

    def run(documents: Iterable[Document]) -> Iterator[Document | Dropped]:
        dropped = dropped_in(decision)
        for place, document in enumerate(documents):
            if place not in dropped:
                yield document
                continue
            same, survivor = dropped[place]
            reason, what = ("exact_duplicate", "the same as") if same else ("near_duplicate", "nearly the same as")
            yield Dropped(document, reason, f"{what} {survivor}")

    return run


class _Observer:
    """Memory: about 300 bytes per document, its id, and one batch of texts."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._digests, self._partners = bytearray(), array("Q")
        self._ids, self._pairs = Strings(), Strings()
        self._signatures: list[np.ndarray] = []
        self._batch: list[str] = []
        self._batch_characters = 0

    def add(self, document: Document) -> None:
        self._digests += self._digest(document)[:16]
        self._partners.append(_partner(document.pair))
        self._ids.append(document.id)
        self._pairs.append(document.pair or "")
        if not self._config.near:
            return
        self._batch.append(document.text)
        self._batch_characters += len(document.text)
        if self._batch_characters >= _BATCH_CHARACTERS or len(self._batch) >= _BATCH_TEXTS:
            self._sign()

    def save(self, folder: Path) -> dict[str, Any]:
        self._sign()
        count = len(self._partners)
        np.save(folder / "digests.npy", np.frombuffer(self._digests, "<u8").reshape(-1, 2))
        np.save(folder / "partners.npy", np.array(self._partners, np.uint64))
        if self._config.near:
            save_batches(folder, "signatures", self._signatures, (count, LANES))
        self._ids.save(folder, "ids")
        self._pairs.save(folder, "pairs")
        save_order(folder, columns(self._config.exact, self._config.lsh), count)
        return {"documents": count}

    def _digest(self, document: Document) -> bytes:
        if not self._config.normalize:
            return document.sha256
        return hashlib.sha256(" ".join(document.text.lower().split()).encode()).digest()

    def _sign(self) -> None:
        if self._batch:
            assert self._config.near is not None
            self._signatures.append(signatures(self._batch, self._config.near.ngram))
        self._batch, self._batch_characters = [], 0


def _partner(pair: str | None) -> int:
    """A number above 0 for the pair, 0 for none."""
    if not pair:
        return 0
    return int.from_bytes(hashlib.blake2b(pair.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big") or 1


def _link(config: Config, part: Part) -> dict[str, Any]:
    return link(config.exact, config.lsh, part)


def _connect(config: Config, part: Part) -> dict[str, Any]:
    return connect(part)


def _decide(config: Config, part: Part) -> dict[str, Any]:
    return decide(config.exact, part)


REDUCTIONS = (
    Reduction("links", _link, partitioned=True),
    Reduction("components", _connect),
    Reduction("survivors", _decide, partitioned=True),
)
