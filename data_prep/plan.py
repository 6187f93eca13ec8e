"""What there is to do: config + inputs -> ordered units, passes and limits. Pure: nothing is run.

Invariant: a task's id is a hash of everything its result depends on (digests of what it reads, options, versions of
the code and of SentencePiece) and of nothing else (no paths of the machine, no worker counts). Equal id, equal
result: a task that has a record is done.

1. `plan_units` cuts the corpus into units of about `split_bytes`: ranges of large files, groups of small ones. What is
   in a file is told by its name, size and time of change; only reading it tells its content.
2. `plan_passes` cuts the list of stages where one has to see the whole corpus.
3. `heldout_limit` decides, for the whole corpus at once, which documents are held out.
"""

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import sentencepiece

from data_prep.columns.annotate import column_versions
from data_prep.config import DataConfig
from data_prep.finish import FINISHES, finish_module
from data_prep.section import Section
from data_prep.shards import canonical
from data_prep.sources.document import InputFile, InputSplit
from data_prep.sources.kinds import ranges
from data_prep.stages import STAGES, is_global, stage_module

# Raise a number when the code of that step would give another result for the same input.
VERSIONS = {"read": 7, "sample": 3, "train": 1, "tokenize": 3, "finish": 2}

HASH_RANGE = 2**64  # document hashes are 0 .. HASH_RANGE - 1
SMALLEST_AUTO_SPLIT, LARGEST_AUTO_SPLIT, AUTO_SPLITS = 2**22, 2**28, 64
MOST_SPLITS = 1024  # in a unit: its task stays small, however small the files are
PART_BYTES, MOST_PARTS = 2**24, 1024  # observations per part of a reduction


@dataclass(frozen=True)
class Unit:
    """The input of one task: consecutive splits. `digest` names their files' versions, `size` is in bytes."""

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
class Stage:
    """A stage or finish as the config asks for it. `place` counts from 1 (0 is reading), `inputs` are digests."""

    kind: str
    config: Section
    place: int
    version: Any
    inputs: tuple[str, ...] = ()

    @property
    def identity(self) -> list[Any]:
        """Everything its result depends on, besides what it is shown."""
        return [self.kind, self.config.model_dump(mode="json"), self.version, self.inputs]

    @property
    def observing(self) -> list[Any]:
        """Everything that what its observer saves depends on, besides what it is shown."""
        module = stage_module(self.kind) if self.kind in STAGES else finish_module(self.kind)
        if not hasattr(module, "observing"):
            return self.identity
        return [self.kind, module.observing(self.config), self.version, self.inputs]


@dataclass(frozen=True)
class Pass:
    """Stages carried out document by document; in all passes but the first, the first stage has a decision.

    `observe`: the stage that is shown what is left, and decides before the next pass.
    """

    number: int  # from 1
    stages: tuple[Stage, ...]
    observe: Stage | None


def task_id(kind: str, content: Any) -> str:
    """`kind-` and the first 24 digits of the hash of `content`."""
    return f"{kind}-{canonical.digest(canonical.encode([kind, content]))[:24]}"


def plan_digest(
    config: DataConfig, files: Sequence[InputFile], stages: Sequence[Stage], own_tokenizer: str | None
) -> str:
    """The identity of a whole preparation: what is asked for, from which files, with whose tokenizer (digest)."""
    inputs = [_identity(file) for file in files]
    content = [
        column_versions(config.columns),
        VERSIONS,
        sentencepiece.__version__,
        config.content(),
        inputs,
        [s.identity for s in stages],
        own_tokenizer,
    ]
    return canonical.digest(canonical.encode(content))


def plan_stages(config: DataConfig, digests: Iterable[tuple[str, ...]]) -> list[Stage]:
    """The stages in order, each with the digests of the files it reads; finishes come last."""
    asked = zip(stage_sections(config), digests, strict=True)
    return [
        Stage(section.kind, section, place, stage_module(section.kind).VERSION, inputs)
        for place, (section, inputs) in enumerate(asked, 1)
    ]


def stage_sections(config: DataConfig) -> list[Any]:
    """What `data.stages` lists, without the finish at its end."""
    return [section for section in config.stages if section.kind in STAGES]


def plan_finishes(config: DataConfig) -> list[Stage]:
    """The finishes in order: weights are computed before documents are copied."""
    asked: dict[str, Any] = {section.kind: section for section in config.stages if section.kind in FINISHES}
    if config.columns.weight is not None:
        asked["weight"] = config.columns.weight
    kinds = [kind for kind in FINISHES if kind in asked]
    first = 1 + len(stage_sections(config))
    return [Stage(kind, asked[kind], place, finish_module(kind).VERSION) for place, kind in enumerate(kinds, first)]


def plan_passes(stages: Sequence[Stage]) -> list[Pass]:
    """Cut the stages into passes: one, and one more for each stage that has to see the whole corpus."""
    cuts = [number for number, stage in enumerate(stages) if is_global(stage_module(stage.kind))]
    bounds = itertools.pairwise([0, *cuts, len(stages)])
    return [
        Pass(number, tuple(stages[start:stop]), stages[stop] if stop < len(stages) else None)
        for number, (start, stop) in enumerate(bounds, 1)
    ]


def plan_units(files: Sequence[InputFile], config: DataConfig) -> list[Unit]:
    """Cut the corpus into units, in order. Small files share a unit; a large file is cut where its kind allows it."""
    split_bytes = config.split_bytes or auto_split_bytes(sum(file.size for file in files))
    units: list[Unit] = []
    group: list[tuple[InputFile, int, int]] = []
    for file in files:
        for start, stop in ranges(file, config, split_bytes):
            if group and (_size(group) + stop - start > split_bytes or len(group) == MOST_SPLITS):
                units.append(_unit(group))
                group = []
            group.append((file, start, stop))
    return [*units, _unit(group)] if group else units


def auto_split_bytes(corpus_bytes: int) -> int:
    """A 64th of the corpus, within 4 MiB .. 256 MiB: the same on every machine."""
    return min(max(corpus_bytes // AUTO_SPLITS, SMALLEST_AUTO_SPLIT), LARGEST_AUTO_SPLIT)


def num_parts(observed_bytes: int) -> int:
    """How many tasks a partitioned reduction is: so many bytes of observations each."""
    return min(max(-(-observed_bytes // PART_BYTES), 1), MOST_PARTS)


def heldout_limit(fraction: float, lowest: int, highest: int) -> int:
    """Documents whose hash is at most this number are held out; -1 for none.

    A document's hash is the first 8 bytes of the SHA-256 of its group (its `pair`, else its text), so translations and
    equal texts are on the same side and the choice does not depend on order or names. A corpus with two different
    groups always has one on each side: the limit is at least the `lowest` hash of the corpus and less than the
    `highest`. `fraction` 0 holds nothing out.
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


def _identity(file: InputFile) -> list[Any]:
    return [file.source, file.name, file.size, file.version]


def _size(group: Sequence[tuple[InputFile, int, int]]) -> int:
    return sum(stop - start for _, start, stop in group)


def _unit(group: Sequence[tuple[InputFile, int, int]]) -> Unit:
    content = [[*_identity(file), start, stop] for file, start, stop in group]
    splits = tuple(InputSplit(file, start, stop) for file, start, stop in group)
    return Unit(splits, canonical.digest(canonical.encode(content)), _size(group))
