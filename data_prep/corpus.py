"""From files to the documents that count: the passes over the corpus and the decisions between them.

Invariant: what is left depends on the corpus and the stages; not on how it was cut into units, nor on which results of
earlier runs were there.

1. Pass 1 reads every unit. Where a stage has to see the whole corpus, its reductions run and the next pass begins
   with what they decided.
2. With `max_documents`, the last pass stops where there are enough: units are taken in growing groups, and the one in
   which the limit is reached is passed again with exactly what it is to give.
"""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from data_prep.config import DataConfig
from data_prep.plan import Stage, Unit, document_limits, num_parts, plan_passes
from data_prep.shards import canonical
from data_prep.tasks import PassTask, ReduceTask
from data_prep.tasks.passes import OBSERVED_NAME, Decided, DocumentsFile, check_budgets
from data_prep.tasks.reduce import RESULT_NAME, reductions
from data_prep.waves import Record, Waves
from data_prep.work import WorkFolder

FIRST_GROUP = 8  # units


@dataclass(frozen=True)
class Observed:
    """What observers saved: a folder for each unit, one digest of everything in them, and its size."""

    folders: tuple[str, ...]
    digest: str
    size: int


@dataclass(frozen=True)
class PassResult:
    """A pass that is done: its tasks, those that gave anything, with their records."""

    tasks: Sequence[PassTask]
    records: Sequence[Record]

    @property
    def documents(self) -> list[DocumentsFile]:
        """What the pass left, one file for each unit."""
        return [task.left(record) for task, record in zip(self.tasks, self.records, strict=True)]


@dataclass(frozen=True)
class Corpus:
    """The passes in order, and the counts of the reductions by stage, in the order they ran."""

    passes: Sequence[PassResult]
    reductions: Sequence[tuple[Stage, str, list[dict[str, Any]]]]


class Reducer:
    """Runs the reductions of a stage or a finish."""

    def __init__(self, waves: Waves) -> None:
        self._waves = waves
        self.counts: list[tuple[Stage, str, list[dict[str, Any]]]] = []

    def decide(self, stage: Stage, observed: Observed) -> Decided:
        """What the reductions make of what was observed."""
        inputs = Decided(observed.folders, observed.digest)
        for index, reduction in enumerate(reductions(stage)):
            count = num_parts(observed.size) if reduction.partitioned else 1
            digest = canonical.digest(canonical.encode([inputs.digest, observed.digest]))
            tasks = [
                ReduceTask(stage, index, part, count, inputs.folders, observed.folders, digest, observed.size // count)
                for part in range(count)
            ]
            records = self._waves.run(tasks)
            self.counts.append((stage, reduction.name, [record["counts"] for record in records]))
            folders = tuple(f"{task.id}/{RESULT_NAME}" for task in tasks)
            inputs = Decided(folders, digest_of([record["files"] for record in records]))
        return inputs


def read_corpus(
    config: DataConfig, units: Sequence[Unit], stages: Sequence[Stage], reducer: Reducer, waves: Waves, work: WorkFolder
) -> Corpus:
    """Carry out every pass. InputError: a file with more bad documents than allowed."""
    sources: Sequence[Unit | DocumentsFile] = units
    decided: Decided | None = None
    results: list[PassResult] = []
    for planned in plan_passes(stages):
        tasks = [
            PassTask(planned.number, source, unit, config, planned.stages, planned.observe, decided)
            for unit, source in enumerate(sources)
        ]
        limited = config.max_documents is not None and planned.observe is None
        result = _run_limited(waves, tasks, config) if limited else PassResult(tasks, waves.run(tasks))
        if planned.number == 1:
            check_budgets(result.records, config.max_errors)
        results.append(result)
        sources = result.documents
        if planned.observe is not None:
            folders = [f"{task.id}/{OBSERVED_NAME}" for task in tasks]
            observed = observed_in(work, folders, [record["observations"] for record in result.records])
            decided = reducer.decide(planned.observe, observed)
    return Corpus(results, reducer.counts)


def observed_in(work: WorkFolder, folders: Sequence[str], files: Sequence[dict[str, str]]) -> Observed:
    """What the observers of all units saved: their folders, and digests of the files, by unit."""
    size = sum(path.stat().st_size for folder in folders for path in work.folder(folder).iterdir())
    return Observed(tuple(folders), digest_of(files), size)


def digest_of(files: Sequence[dict[str, str]]) -> str:
    """One digest of the digests of several folders' files."""
    return canonical.digest(canonical.encode(list(files)))


def _run_limited(waves: Waves, tasks: Sequence[PassTask], config: DataConfig) -> PassResult:
    """The units that give the first `max_documents`; the later ones are not passed at all."""
    most = config.max_documents
    assert most is not None
    tasks = [replace(task, limit=most) for task in tasks]
    records: list[Record] = []
    for group in _growing(tasks):
        records += waves.run(group)
        check_budgets(records, config.max_errors)
        if sum(record["documents"] for record in records) >= most:
            break
    counts = [record["documents"] for record in records]
    kept = [
        (task if limit == count else replace(task, limit=limit))
        for task, limit, count in zip(tasks, document_limits(counts, most), counts, strict=False)
        if limit or not count  # a unit without documents still has something to tell: why
    ]
    return PassResult(kept, waves.run(kept))


def _growing(tasks: Sequence[PassTask]) -> Iterator[list[PassTask]]:
    left, size = iter(tasks), FIRST_GROUP
    while group := list(itertools.islice(left, size)):
        yield group
        size *= 2
