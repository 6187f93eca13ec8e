"""select: which training documents stay, and how often: mixtures, up-sampling, temperature sampling, token budgets.

Invariant: how often a document is there depends on its id, its group and the groups' tokens alone, not on how the
corpus was cut, or on the order of anything. Held-out documents are neither dropped nor repeated.

1. Every document belongs to one group: the first of `groups` it fits (else `(rest)`), or, with `by`, its language or
   the top folder of its source. The observer notes its group, its tokens and a hash of its id.
2. `cutoffs` (one task) adds up the groups and finds what the mixture asks for (see `mixture`). A group is taken whole
   as often as that goes; the rest is filled with the documents of the smallest hashes, and is short of what was asked
   by less than one document.
3. `copies` (some units per part) writes for every document how often it is there.
4. The finish passes over a unit's documents in rounds, so that a document and its copy lie as far apart as the unit
   allows; copies are named ID#1, ID#2, ...

Memory: 16 bytes per document of a unit; `cutoffs`: 128 KiB per group, and 24 bytes for one document in 4096; the
finish: the tokens of one unit's repeated documents.
"""

import functools
import hashlib
import json
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field, model_validator

from data_prep.errors import InputError
from data_prep.finish.cutoffs import Noted, Taken, group_names, histogram, smallest_hashes
from data_prep.finish.finish import Finish, TokenizedDocument, TokenObserver
from data_prep.finish.mixture import Wish, target_tokens
from data_prep.section import Positive, Section
from data_prep.sources.document import Document
from data_prep.stages.stage import Decision, Part, Reduction

VERSION = 1

REST, UNKNOWN = "(rest)", "unknown"
MAX_GROUPS = 1024
MAX_COPIES = 2**16 - 2  # of a whole group; 16 bits hold one more


class GroupConfig(Section):
    """Some of the documents, and how much of them is wanted."""

    name: str = Field(min_length=1)
    source: str = "*"  # a glob on the document's source, as in med/*
    lang: str | None = None  # only documents in this language
    weight: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None  # times as likely as by size; null: 1
    share: Annotated[float, Field(gt=0, le=1)] | None = None  # part of all tokens
    max_tokens: Positive | None = None

    @model_validator(mode="after")
    def _weight_or_share(self) -> "GroupConfig":
        if self.weight is not None and self.share is not None:
            raise ValueError(f"group {self.name}: weight and share are both given; choose one")
        return self


class Config(Section):
    """What the training documents are mixed of."""

    kind: Literal["select"] = "select"
    groups: Annotated[tuple[GroupConfig, ...], Field(strict=False)] = ()  # a document is in the first that it fits
    by: Literal["source", "lang"] | None = None  # instead of groups: one for each top folder, or language
    temperature: Annotated[float, Field(ge=1, le=1000)] = 1.0
    budget_tokens: Positive | None = None  # null: nothing is left out, small groups are repeated

    @model_validator(mode="after")
    def _consistent(self) -> "Config":
        names = [group.name for group in self.groups]
        if self.groups and self.by:
            raise ValueError("groups and by are both given; choose one")
        if len(set(names)) < len(names):
            raise ValueError(f"groups: the name {max(names, key=names.count)} is given twice")
        if (total := sum(group.share or 0 for group in self.groups)) > 1 + 1e-9:
            raise ValueError(f"groups: the shares add up to {total:g}, more than 1")
        asks = any(group.weight or group.share or group.max_tokens for group in self.groups)
        if not asks and self.temperature == 1 and self.budget_tokens is None:
            raise ValueError("nothing is asked for: give groups a weight or share, or a temperature, or budget_tokens")
        if self.temperature > 1 and not self.groups and not self.by:
            raise ValueError("temperature is between groups: give by: lang, by: source, or groups")
        return self

    def group_of(self, source: str, lang: str | None) -> str:
        """The name of the group of a document."""
        if self.by == "lang":
            return lang or UNKNOWN
        if self.by == "source":
            return source.split("/", 1)[0]
        fitting = (g.name for g in self.groups if fnmatchcase(source, g.source) and g.lang in (None, lang))
        return next(fitting, REST)

    def wishes(self, names: Iterable[str]) -> dict[str, Wish]:
        """What is asked for the groups of these names."""
        asked = {g.name: Wish(1.0 if g.weight is None else g.weight, g.share, g.max_tokens) for g in self.groups}
        return {name: asked.get(name, Wish()) for name in names}


def observer(config: Config, vocab_size: int) -> TokenObserver:
    """Notes groups, token counts and hashes of the training documents of one unit."""
    return _Observer(config)


def observing(config: Config) -> Any:
    """What the observer depends on: how documents are grouped, not what is asked for the groups."""
    return [config.by, [[group.name, group.source, group.lang] for group in config.groups]]


class _Observer:
    def __init__(self, config: Config) -> None:
        self._group_of = functools.lru_cache(maxsize=4096)(config.group_of)
        self._names: dict[str, int] = {}
        self._groups, self._tokens, self._keys = array("I"), array("I"), array("Q")

    def add(self, document: Document, token_ids: np.ndarray) -> None:
        name = self._group_of(document.source, document.lang)
        self._groups.append(self._names.setdefault(name, len(self._names)))
        self._tokens.append(len(token_ids))
        self._keys.append(_key(document.id))

    def save(self, folder: Path) -> dict[str, Any]:
        groups, tokens = np.array(self._groups, np.uint32), np.array(self._tokens, np.uint32)
        Noted(groups, tokens, np.array(self._keys, np.uint64)).save(folder, list(self._names))
        return {"documents": len(self._keys)}


def cutoffs(config: Config, part: Part) -> dict[str, Any]:
    """Write `cutoffs.json`: {group: [how often all are taken, hash below which they are taken once more]}.

    Returns documents and tokens of every group, before and after, as `GROUP: tokens after`.
    """
    names = group_names(part.observed)
    if len(names) > MAX_GROUPS:
        raise InputError(f"select: {len(names)} groups by {config.by} are more than {MAX_GROUPS}; list groups instead")
    counts = histogram(part.observed, names)
    before = dict(zip(names, counts.sum(axis=2).T.tolist(), strict=True))
    whole, rest = _whole_and_rest(config, {name: tokens for name, (_, tokens) in before.items()})
    taken = smallest_hashes(part.observed, names, counts, rest)
    found = {name: [whole[name], taken[name].below] for name in names}
    (part.out / "cutoffs.json").write_text(json.dumps(found), encoding="utf-8")
    return {
        f"{name}: {what}": count
        for name in names
        for what, count in _counts(before[name], whole[name], taken[name]).items()
    }


def copies(config: Config, part: Part) -> dict[str, Any]:
    """Write `copies-UNIT.npy` [documents] uint16 for every count-th unit."""
    found = json.loads((part.inputs[0] / "cutoffs.json").read_text(encoding="utf-8"))
    names = sorted(found)
    whole = np.array([found[name][0] for name in names], np.uint16)
    below = np.array([found[name][1] for name in names], np.uint64)
    for number in range(part.number, len(part.observed), part.count):
        unit = Noted.load(part.observed[number], names)
        once_more = unit.keys < below[unit.groups]
        np.save(part.out / f"copies-{number}.npy", whole[unit.groups] + once_more.astype(np.uint16))
    return {}


def finish(config: Config, decision: Decision, split: str) -> Finish:
    """Drops and repeats the training documents of one unit."""

    def run(documents: Iterable[TokenizedDocument]) -> Iterator[TokenizedDocument]:
        if split != "train":
            yield from documents
            return
        folder = decision.folders[decision.unit % len(decision.folders)]  # as `copies` deals them out
        counts = np.load(folder / f"copies-{decision.unit}.npy").tolist()
        repeated = []
        for document, count in zip(documents, counts, strict=True):
            if count:
                yield document
            if count > 1:
                repeated.append((document, count))
        for copy in range(1, max(counts, default=0)):
            yield from (replace(each, id=f"{each.id}#{copy}") for each, count in repeated if count > copy)

    return run


REDUCTIONS = (Reduction("cutoffs", cutoffs), Reduction("copies", copies, partitioned=True))


def _whole_and_rest(config: Config, tokens: dict[str, int]) -> tuple[dict[str, int], dict[str, int]]:
    """How often each group is taken whole, and the tokens that are still wanted then."""
    for group in config.groups:
        if not tokens.get(group.name):
            what = group.source if group.lang is None else f"{group.source} in {group.lang}"
            raise InputError(f"select: group {group.name} ({what}) has no training tokens; correct or remove the group")
    filled = {name: count for name, count in tokens.items() if count}
    targets = target_tokens(filled, config.wishes(filled), config.temperature, config.budget_tokens)
    for name, target in targets.items():
        if target // filled[name] > MAX_COPIES:
            raise InputError(f"select: group {name} would be repeated {target // filled[name]} times; set max_tokens")
    whole = {name: targets[name] // filled[name] if name in filled else 1 for name in tokens}
    return whole, {name: target % filled[name] for name, target in targets.items()}


def _counts(before: list[int], whole: int, taken: Taken) -> dict[str, int]:
    documents, tokens = before
    return {
        "documents": documents,
        "documents after": whole * documents + taken.documents,
        "tokens": tokens,
        "tokens after": whole * tokens + taken.tokens,
    }


def _key(document_id: str) -> int:
    data = document_id.encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(data, digest_size=8, person=b"select").digest(), "big")
