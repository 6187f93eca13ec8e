"""What an observer saves of one unit's documents, and how reductions read it: by memory map, a slice at a time.

A folder holds, for n documents in their order:

    digests.npy     [n, 2] uint64      the first half of the SHA-256 of the text
    signatures.npy  [n, LANES] uint8   see `minhash` (only for near duplicates)
    partners.npy    [n] uint64         BLAKE2b-64 of the pair, 0 for a document that is not aligned
    order.npy       [columns, n] uint32   for every column, the documents in the order of its keys
    ranges.npy      [columns, 257] uint32   where in that order each 256th of the range of keys begins
    ids, pairs      the names, as bytes one after another and where each ends

A column gives each document a 64-bit key; documents that may be copies share one: the digest, each band of the
signature, and the partner. `order` lets a part read its range of keys from every unit without reading the rest.

1. `save_batches`, `save_order` and `Strings.save` write.
2. `Corpus` numbers the documents of all units in order, and gathers what is known of some of them.
"""

import contextlib
import functools
import math
import mmap
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import numpy as np

from data_prep.stages.duplicates.minhash import Lsh

Rows = slice | np.ndarray

_RANGES, _RANGE_SHIFT = 256, 56


@dataclass(frozen=True)
class Column:
    """One way to find documents that belong together: `kind` exact, near or partner. Keys are made of file `name`."""

    kind: str
    name: str
    keys: Callable[[np.ndarray, Rows], np.ndarray]


@dataclass(frozen=True)
class Unit:
    """The folder of one observer. Files are opened for each use: a corpus has more units than a process may open."""

    folder: Path
    _headers: dict[str, tuple[np.dtype, tuple[int, ...], int]] = field(default_factory=dict)  # by name; see `array`

    def array(self, name: str) -> np.ndarray:
        """A file, mapped; its header (type, shape, length) is read once."""
        with open(self.folder / f"{name}.npy", "rb") as file:
            if name not in self._headers:
                assert np.lib.format.read_magic(file) == (1, 0)
                shape, _, dtype = np.lib.format.read_array_header_1_0(file)
                self._headers[name] = (dtype, shape, file.tell())
            dtype, shape, start = self._headers[name]
            data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        return np.frombuffer(data, dtype, math.prod(shape), start).reshape(shape)


def columns(exact: bool, lsh: Lsh | None) -> list[Column]:
    """The columns by which copies and partners are found."""
    found = [Column("partner", "partners", lambda partners, rows: partners[rows])]
    if exact:
        found.append(Column("exact", "digests", lambda digests, rows: digests[rows, 0]))
    if lsh:
        bands = range(lsh.bands)
        found += [Column("near", "signatures", functools.partial(lsh.band_keys, band)) for band in bands]
    return found


class Strings:
    """Names, packed: about 8 bytes more than their own for each."""

    def __init__(self, strings: Iterable[str] = ()) -> None:
        self._text, self._ends = bytearray(), array("q")
        for string in strings:
            self.append(string)

    def append(self, string: str) -> None:
        """Add one."""
        self._text += string.encode("utf-8", "surrogatepass")
        self._ends.append(len(self._text))

    def save(self, folder: Path, name: str) -> None:
        """Write `NAME.npy` and `NAME_ends.npy`."""
        np.save(folder / f"{name}.npy", np.frombuffer(self._text, np.uint8))
        np.save(folder / f"{name}_ends.npy", np.array(self._ends, np.int64))


def save_batches(folder: Path, name: str, batches: list[np.ndarray], shape: tuple[int, ...]) -> None:
    """Write the rows of all batches (uint8), which are let go one by one."""
    with _array_file(folder / f"{name}.npy", np.dtype(np.uint8), shape) as file:
        while batches:
            file.write(batches.pop(0).tobytes())


def save_order(folder: Path, by: Sequence[Column], count: int) -> None:
    """Write `order.npy` and `ranges.npy` for the `count` documents whose files are in `folder`."""
    ranges = np.empty((len(by), _RANGES + 1), np.uint32)
    with _array_file(folder / "order.npy", np.dtype(np.uint32), (len(by), count)) as file:
        for number, column in enumerate(by):
            keys = column.keys(Unit(folder).array(column.name), slice(None))
            order = np.argsort(keys, kind="stable").astype(np.uint32)
            file.write(order.tobytes())
            ranges[number] = np.searchsorted(keys[order] >> np.uint64(_RANGE_SHIFT), np.arange(_RANGES + 1))
    np.save(folder / "ranges.npy", ranges)


@contextlib.contextmanager
def _array_file(path: Path, dtype: np.dtype, shape: tuple[int, ...]) -> Iterator[BinaryIO]:
    """A new npy file, its header written: the array's bytes follow, row by row."""
    with open(path, "wb") as file:
        header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        yield file


def read_strings(unit: Unit, name: str, rows: np.ndarray) -> list[str]:
    """The strings in `rows`."""
    text, ends = unit.array(name), unit.array(f"{name}_ends")
    starts = np.where(rows > 0, ends[rows - 1], 0)
    return [text[a:b].tobytes().decode("utf-8", "surrogatepass") for a, b in zip(starts, ends[rows], strict=True)]


class Corpus:
    """All units. A document's number is its place in the whole corpus, however that was cut."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self._units = [Unit(folder) for folder in folders]
        self.starts = np.cumsum([0, *(len(unit.array("partners")) for unit in self._units)], dtype=np.int64)

    def key_range(self, number: int, column: Column, first: int, last: int) -> tuple[np.ndarray, np.ndarray]:
        """Keys of the column (the `number`th) from `first` up to but not including `last`, and their documents.

        Sorted by key, then by document.
        """
        keys, documents = [np.zeros(0, np.uint64)], [np.zeros(0, np.int64)]
        for unit, start in zip(self._units, self.starts, strict=False):
            ranges = unit.array("ranges")[number]
            begin, end = ranges[first >> _RANGE_SHIFT], ranges[-(-last >> _RANGE_SHIFT)]
            rows = unit.array("order")[number, begin:end]
            candidates = column.keys(unit.array(column.name), rows)
            inside = (candidates >= first) & (candidates < last)
            keys.append(candidates[inside])
            documents.append(start + rows[inside].astype(np.int64))
        all_keys, all_documents = np.concatenate(keys), np.concatenate(documents)
        order = np.argsort(all_keys, kind="stable")
        return all_keys[order], all_documents[order]

    def gather(self, documents: np.ndarray, name: str) -> np.ndarray:
        """The entries of a file for `documents`, in that order."""
        found: np.ndarray | None = None
        for unit, places, rows in self._by_unit(documents):
            array = unit.array(name)
            if found is None:
                found = np.empty((len(documents), *array.shape[1:]), array.dtype)
            found[places] = array[rows]
        return np.zeros((0, 2), np.uint64) if found is None else found

    def gather_strings(self, documents: np.ndarray, name: str) -> list[str]:
        """The names of `documents`, in that order."""
        found = [""] * len(documents)
        for unit, places, rows in self._by_unit(documents):
            for place, string in zip(places, read_strings(unit, name, rows), strict=True):
                found[place] = string
        return found

    def _by_unit(self, documents: np.ndarray) -> Iterator[tuple[Unit, np.ndarray, np.ndarray]]:
        """For every unit that has some: the unit, their places in `documents`, and their rows in the unit."""
        order = np.argsort(documents, kind="stable")
        cuts = np.searchsorted(documents[order], self.starts)
        for number, unit in enumerate(self._units):
            places = order[cuts[number] : cuts[number + 1]]
            if len(places):
                yield unit, places, documents[places] - self.starts[number]
