"""The texts of evaluation files, and which runs of their words a document shares.

Invariant: what is found is exact, word for word; digests only lead to the places that are compared.

1. Texts: of a `.jsonl` file every string of every line, however deep; any other file is one text.
2. Words: lower case, without punctuation (Unicode classes P and S), split as in `words.split_words`.
3. Every word of the evaluation texts gets a number, every run of `ngram` numbers within one text a 64-bit code.
4. A document's words that are in no evaluation text get 0: no run over them can match.
"""

import functools
import glob
import itertools
import json
import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from data_prep.errors import InputError
from data_prep.stages.rules.words import split_words

_FACTOR = np.uint64(0x9E3779B97F4A7C15)
_BEYOND_BMP = re.compile("[\U00010000-\U0010ffff]")


@dataclass(frozen=True)
class Shared:
    """What a document shares with the evaluation texts: the number of runs, the first one, and a file that has it."""

    hits: int
    words: str
    file: str


class EvaluationTexts:
    """The runs of `ngram` words of some files. Memory: 24 bytes per run, and each different word once."""

    def __init__(self, files: Sequence[str], ngram: int) -> None:
        self._files, self._ngram = files, ngram
        self._number: dict[str, int] = {}
        texts = [(place, self._learn(text)) for place, file in enumerate(files) for text in read_texts(file)]
        texts = [(place, ids) for place, ids in texts if len(ids) >= ngram]
        if not texts:
            raise InputError(f"decontaminate: no text of {files[0]} or others has {ngram} words: lower ngram")
        self._ids = np.concatenate([ids for _, ids in texts])
        self._ends = np.cumsum([len(ids) for _, ids in texts])
        self._file = [place for place, _ in texts]
        starts = self._ends - [len(ids) for _, ids in texts]
        runs = [np.arange(start, end - ngram + 1) for start, end in zip(starts, self._ends, strict=True)]
        codes = np.concatenate([_codes(ids, ngram) for _, ids in texts])
        self._codes, first = np.unique(codes, return_index=True)
        self._places = np.concatenate(runs)[first]

    def find(self, text: str) -> Shared | None:
        """What a text shares, None if nothing."""
        words = normal_words(text)
        ids = np.fromiter(map(self._number.get, words, itertools.repeat(0)), np.uint64, len(words))
        places = self._whole_runs(ids)
        if not places.size:
            return None
        codes = _codes(ids, self._ngram)[places]
        candidates = np.minimum(np.searchsorted(self._codes, codes), len(self._codes) - 1)
        equal = np.flatnonzero(self._codes[candidates] == codes)
        origins = self._places[candidates[equal]].tolist()
        pairs = zip(places[equal].tolist(), origins, strict=True)
        hits = [
            (place, origin)
            for place, origin in pairs
            if np.array_equal(self._run(ids, place), self._run(self._ids, origin))
        ]
        if not hits:
            return None
        place, origin = hits[0]
        file = self._files[self._file[int(np.searchsorted(self._ends, origin, "right"))]]
        return Shared(len(hits), " ".join(words[place : place + self._ngram]), file)

    def _learn(self, text: str) -> np.ndarray:
        words, number = normal_words(text), self._number
        return np.fromiter((number.setdefault(word, len(number) + 1) for word in words), np.uint64, len(words))

    def _run(self, ids: np.ndarray, place: int) -> np.ndarray:
        return ids[place : place + self._ngram]

    def _whole_runs(self, ids: np.ndarray) -> np.ndarray:
        """Where runs begin whose words are all known."""
        if len(ids) < self._ngram:
            return np.empty(0, np.int64)
        unknown = np.concatenate(([0], np.cumsum(ids == 0)))
        return np.flatnonzero(unknown[self._ngram :] == unknown[: -self._ngram])


def normal_words(text: str) -> list[str]:
    """The words of a text in lower case, without punctuation."""
    text = _punctuation().sub(" ", text)
    if not text.isascii() and _BEYOND_BMP.search(text):
        text = text.translate(_symbols_beyond_bmp())
    return split_words(text.lower())


@functools.cache
def _punctuation() -> re.Pattern[str]:
    """Runs of the Unicode classes P and S. A set of the basic plane alone is a table, any other a slow list."""
    return re.compile(f"[{re.escape(''.join(filter(_is_punctuation, map(chr, range(2**16)))))}]+")


@functools.cache
def _symbols_beyond_bmp() -> dict[int, str]:
    """The same beyond the basic plane; none lies above U+20000."""
    return {code: " " for code in range(2**16, 2**17) if _is_punctuation(chr(code))}


def _is_punctuation(character: str) -> bool:
    return unicodedata.category(character)[0] in "PS"


def find_files(patterns: Sequence[str]) -> list[str]:
    """The files that paths and globs name, sorted, each once; InputError for a pattern that names none."""
    found: set[str] = set()
    for pattern in patterns:
        files = [path for path in glob.glob(pattern, recursive=True) if Path(path).is_file()]
        if not files:
            raise InputError(f"decontaminate: paths: {pattern}: no such file")
        found.update(files)
    return sorted(found)


def read_texts(file: str) -> Iterator[str]:
    """The texts of an evaluation file; InputError names the file and line that cannot be read."""
    try:
        content = Path(file).read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise InputError(f"{file}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{file}: byte {error.start}: not valid UTF-8") from error
    if not file.endswith(".jsonl"):
        yield content
        return
    for number, line in enumerate(content.split("\n"), start=1):
        if line.strip():
            yield from _strings(_parse(line, f"{file}:{number}"))


def _parse(line: str, where: str) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where}: not valid JSON: {error}") from error


def _strings(value: Any) -> Iterator[str]:
    """The strings within a JSON value, in order; keys are none."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _strings(item)


def _codes(ids: np.ndarray, ngram: int) -> np.ndarray:
    """[len(ids) - ngram + 1] uint64: equal runs have equal codes."""
    codes = ids[: len(ids) - ngram + 1].copy()
    for offset in range(1, ngram):
        codes = codes * _FACTOR + ids[offset : len(ids) - ngram + 1 + offset]
    return codes
