"""Which documents of a group are taken, where not all are: those of the smallest hashes, up to a number of tokens.

Invariant: the documents taken depend on the hashes and tokens of the group's documents alone, not on their order.

1. `Noted` is what an observer stores of a unit: 16 bytes per document.
2. `histogram` adds up documents and tokens of each group by the first bits of the hash.
3. `smallest_hashes` finds the bits at which the wanted tokens are exceeded, and looks at those documents one by one.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

_BIN_BITS = 12
_FILES = ("groups", "tokens", "keys")


@dataclass(frozen=True)
class Noted:
    """Group, tokens and hash of each document of a unit; groups are places in a list of names."""

    groups: np.ndarray
    tokens: np.ndarray
    keys: np.ndarray

    @classmethod
    def load(cls, folder: Path, names: list[str]) -> "Noted":
        """A unit's documents; `names` are the groups of the whole corpus."""
        place_of = {name: place for place, name in enumerate(names)}
        places = np.array([place_of[name] for name in _unit_names(folder)], np.int64)
        groups, tokens, keys = (np.load(folder / f"{name}.npy") for name in _FILES)
        return cls(places[groups], tokens.astype(np.int64), keys)

    def save(self, folder: Path, names: list[str]) -> None:
        """Write the files; `names` are the groups of the unit."""
        for name in _FILES:
            np.save(folder / f"{name}.npy", getattr(self, name))
        (folder / "names.json").write_text(json.dumps(names), encoding="utf-8")

    @property
    def bins(self) -> np.ndarray:
        """Group and first bits of the hash, as one number."""
        return self.groups << _BIN_BITS | (self.keys >> np.uint64(64 - _BIN_BITS)).astype(np.int64)


@dataclass(frozen=True)
class Taken:
    """Documents whose hash is smaller than `below`: how many, and their tokens."""

    below: int
    documents: int
    tokens: int


def group_names(folders: Sequence[Path]) -> list[str]:
    """The groups of the whole corpus."""
    return sorted({name for folder in folders for name in _unit_names(folder)})


def histogram(folders: Sequence[Path], names: list[str]) -> np.ndarray:
    """Documents and tokens [2, groups, bins] of each group by the first bits of the hash."""
    documents, tokens = (np.zeros(len(names) << _BIN_BITS, np.int64) for _ in range(2))
    for folder in folders:
        unit = Noted.load(folder, names)
        np.add.at(documents, unit.bins, 1)
        np.add.at(tokens, unit.bins, unit.tokens)
    return np.stack([documents, tokens]).reshape(2, len(names), 1 << _BIN_BITS)


def smallest_hashes(
    folders: Sequence[Path], names: list[str], counts: np.ndarray, wanted: Mapping[str, int]
) -> dict[str, Taken]:
    """For each group, the documents of the smallest hashes that have at most the `wanted` tokens (default 0)."""
    sums = np.cumsum(counts, axis=2)
    reached = {  # the bin of hashes within which the wanted tokens are exceeded
        place: int(np.searchsorted(sums[1, place], wanted[name], side="right"))
        for place, name in enumerate(names)
        if wanted.get(name)
    }
    keys, tokens, groups = _documents_in(folders, names, [place << _BIN_BITS | at for place, at in reached.items()])
    taken = dict.fromkeys(names, Taken(0, 0, 0))
    for place, at in reached.items():
        name, mine = names[place], groups == place
        documents, before = (int(sums[row, place, at] - counts[row, place, at]) for row in (0, 1))
        last = _cut(keys[mine], tokens[mine], wanted[name] - before)
        taken[name] = Taken(last.below, documents + last.documents, before + last.tokens)
    return taken


def _cut(keys: np.ndarray, tokens: np.ndarray, wanted: int) -> Taken:
    """The documents of the smallest keys that have at most the `wanted` tokens; all together have more."""
    order = np.argsort(keys, kind="stable")
    keys, sums = keys[order], np.concatenate([[0], np.cumsum(tokens[order])])
    first = keys[np.searchsorted(sums, wanted, side="right") - 1]
    count = int(np.searchsorted(keys, first))  # documents of equal hashes are taken together or not at all
    return Taken(int(first), count, int(sums[count]))


def _documents_in(
    folders: Sequence[Path], names: list[str], bins: list[int]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Hashes, tokens and groups of the documents in some bins."""
    found = [(np.zeros(0, np.uint64), np.zeros(0, np.int64), np.zeros(0, np.int64))]
    for folder in folders:
        unit = Noted.load(folder, names)
        inside = np.isin(unit.bins, bins)
        found.append((unit.keys[inside], unit.tokens[inside], unit.groups[inside]))
    keys, tokens, groups = (np.concatenate(arrays) for arrays in zip(*found, strict=True))
    return keys, tokens, groups


def _unit_names(folder: Path) -> list[str]:
    return json.loads((folder / "names.json").read_text(encoding="utf-8"))
