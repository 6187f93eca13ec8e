"""What there is to do: config + inputs -> ordered tasks with ids. Pure: nothing is read, nothing is run.

Invariant: a task's id is a hash of everything its result depends on (bytes of its input, reading options, ids of what
it builds on, versions of the code and of SentencePiece) and of nothing else (no paths of the machine, no worker
counts). Equal id, equal result: a task that has a record is done.

1. `plan_units` cuts the corpus into units of about `split_bytes`: ranges of large files, groups of small ones.
2. `scan` counts a unit's documents; `sample` takes the tokenizer's training text from it; `train` makes the tokenizer;
   `tokenize` writes the unit's shards.
3. `heldout_limit` decides, for the whole corpus at once, which documents are held out.
"""

import functools
import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import sentencepiece

from data_prep.config import DataConfig, TokenizerConfig
from data_prep.shards import canonical
from data_prep.sources.document import InputSplit
from data_prep.sources.inputs import InputFile

# Raise a number when the code of that step would give another result for the same input.
VERSIONS = {"read": 1, "scan": 1, "sample": 1, "train": 1, "tokenize": 1}

HASH_RANGE = 2**64  # document hashes are 0 .. HASH_RANGE - 1
SMALLEST_AUTO_SPLIT, LARGEST_AUTO_SPLIT, AUTO_SPLITS = 2**20, 2**28, 64


@dataclass(frozen=True)
class Unit:
    """The input of one task: consecutive splits. `digest` names their content, `size` is in bytes."""

    splits: tuple[InputSplit, ...]
    digest: str
    size: int

    @property
    def label(self) -> str:
        """What to call it in a message."""
        first, last = self.splits[0], self.splits[-1]
        if len(self.splits) == 1:
            return f"{first.name} bytes {first.start}-{first.stop}"
        return f"{len(self.splits)} files, {first.name} to {last.name}"


@dataclass(frozen=True)
class UnitTask:
    """One step over one unit. At most `limit` documents are read; `settings` is what else the step depends on."""

    kind: str
    unit: Unit
    config: DataConfig
    limit: int | None
    settings: tuple[tuple[str, Any], ...] = ()
    tokenizer_folder: str = ""  # where the tokenizer lies in the work folder; its digest is among the settings

    @functools.cached_property
    def id(self) -> str:
        """Name of the task's record and files."""
        content = [self.unit.digest, reading_options(self.config), self.limit, self.settings]
        return task_id(self.kind, content)

    @property
    def label(self) -> str:
        """What to call it in a message."""
        return f"{self.kind} {self.unit.label}"

    @property
    def size(self) -> int:
        """Bytes of input."""
        return self.unit.size

    def setting(self, name: str) -> Any:
        """One of the `settings`."""
        return dict(self.settings)[name]


@dataclass(frozen=True)
class TrainTask:
    """Train the tokenizer on the text that `samples` (ids of sample tasks, in order) took."""

    config: TokenizerConfig
    samples: tuple[str, ...]
    kind: ClassVar[str] = "train"
    size: ClassVar[int] = 0

    @functools.cached_property
    def id(self) -> str:
        """Name of the task's record and folder."""
        return task_id("train", [self.config.model_dump(mode="json", exclude={"path"}), self.samples])

    @property
    def label(self) -> str:
        """What to call it in a message."""
        return "train the tokenizer"


def task_id(kind: str, content: Any) -> str:
    """`kind-` and the first 24 digits of the hash of `content` and the versions of what makes the result."""
    versions = [VERSIONS["read"], VERSIONS[kind], sentencepiece.__version__]
    return f"{kind}-{canonical.digest(canonical.encode([kind, versions, content]))[:24]}"


def plan_digest(config: DataConfig, files: Sequence[InputFile], own_tokenizer: str | None) -> str:
    """The identity of a whole preparation: what is asked for, from which content, with whose tokenizer (digest)."""
    inputs = [(file.name, file.source, file.size, file.digest) for file in files]
    content = [VERSIONS, sentencepiece.__version__, config.content(), inputs, own_tokenizer]
    return canonical.digest(canonical.encode(content))


def reading_options(config: DataConfig) -> dict[str, Any]:
    """The options that decide which documents a unit yields."""
    return {name: getattr(config, name) for name in ("text_field", "id_field", "document", "bad_documents")}


def plan_units(files: Sequence[InputFile], config: DataConfig) -> list[Unit]:
    """Cut the corpus into units, in order. Small files share a unit; a large file is cut where its kind allows it."""
    split_bytes = config.split_bytes or auto_split_bytes(sum(file.size for file in files))
    units: list[Unit] = []
    group: list[tuple[InputFile, int, int]] = []
    for file in files:
        for start, stop in _ranges(file, config, split_bytes):
            if group and _size(group) + stop - start > split_bytes:
                units.append(_unit(group))
                group = []
            group.append((file, start, stop))
    return [*units, _unit(group)] if group else units


def auto_split_bytes(corpus_bytes: int) -> int:
    """A 64th of the corpus, within 1 MiB .. 256 MiB: the same on every machine."""
    return min(max(corpus_bytes // AUTO_SPLITS, SMALLEST_AUTO_SPLIT), LARGEST_AUTO_SPLIT)


def heldout_limit(fraction: float, lowest: int, highest: int) -> int:
    """Documents whose hash is at most this number are held out; -1 for none.

    A document's hash is the first 8 bytes of the SHA-256 of its text, so equal texts are on the same side and the
    choice does not depend on order or names. A corpus with two different documents always has one on each side: the
    limit is at least the `lowest` hash of the corpus and less than the `highest`. `fraction` 0 holds nothing out.
    """
    if fraction == 0 or lowest == highest:
        return -1
    return min(max(int(fraction * HASH_RANGE) - 1, lowest), highest - 1)


def document_limits(counts: Iterable[int], max_documents: int | None) -> list[int | None]:
    """How many documents each unit may give so that the corpus has the first `max_documents`; None where all count."""
    left, limits = max_documents, list[int | None]()
    for count in counts:
        limits.append(None if left is None else min(count, left))
        left = None if left is None else left - min(count, left)
    return limits


def _ranges(file: InputFile, config: DataConfig, split_bytes: int) -> list[tuple[int, int]]:
    cuttable = file.source == "jsonl" or (file.source == "text" and config.document != "file")
    if not cuttable or file.size <= split_bytes:
        return [(0, file.size)]
    count = -(-file.size // split_bytes)
    bounds = [file.size * number // count for number in range(count + 1)]
    return list(itertools.pairwise(bounds))


def _size(group: Sequence[tuple[InputFile, int, int]]) -> int:
    return sum(stop - start for _, start, stop in group)


def _unit(group: Sequence[tuple[InputFile, int, int]]) -> Unit:
    content = [(file.source, file.name, file.digest, start, stop) for file, start, stop in group]
    splits = tuple(
        InputSplit(file.path, file.name, file.source, start, stop, file.size, file.modified_ns)
        for file, start, stop in group
    )
    return Unit(splits, canonical.digest(canonical.encode(content)), _size(group))
