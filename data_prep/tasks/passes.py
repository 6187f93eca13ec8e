"""A pass over one unit: read, carry stages out, show what is left to an observer, and keep it for the next pass.

Invariant: the documents kept depend on the documents read, in their order, and on the stages; memory holds what the
stages and the observer keep, never the unit.
"""

import functools
import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from data_prep.config import DataConfig
from data_prep.documents import DOCUMENTS_NAME, Documents, DocumentWriter
from data_prep.errors import InputError
from data_prep.kept import KEPT_NAME, KeptWriter
from data_prep.plan import VERSIONS, Stage, Unit, task_id
from data_prep.quarantine import QUARANTINE_NAME, Quarantine
from data_prep.shards.files import place
from data_prep.sources import BadDocument, Document, read
from data_prep.stages import stage_module
from data_prep.stages.stage import Decision, Observer, Step
from data_prep.tally import MOST_EXAMPLES, Contents, Tally
from data_prep.work import WorkFolder

OBSERVED_NAME = "observed"


@dataclass(frozen=True)
class DocumentsFile:
    """The documents that a task of the pass before left: where they are, and the digest of their content."""

    task_id: str
    digest: str
    size: int  # bytes of text
    label: str
    kept: str | None = None  # the task that noted which of them stay, if one did

    def documents(self, work: WorkFolder) -> Documents:
        """Themselves."""
        return Documents(work.folder(self.task_id) / DOCUMENTS_NAME, self._kept_path(work))

    def kept_writer(self, work: WorkFolder, path: Path) -> KeptWriter:
        """What notes in `path` which of them stay."""
        return KeptWriter(path, self.digest, self._kept_path(work))

    def _kept_path(self, work: WorkFolder) -> Path | None:
        return None if self.kept is None else work.folder(self.kept) / KEPT_NAME


@dataclass(frozen=True)
class Decided:
    """What a reduction decided: its parts' folders, and one digest of everything in them."""

    folders: tuple[str, ...]
    digest: str

    def decision(self, work: WorkFolder, unit: int) -> Decision:
        """As a stage takes it."""
        return Decision([work.folder(folder) for folder in self.folders], unit)


@dataclass(frozen=True)
class PassTask:
    """Pass `number` over one unit. At most `limit` documents are kept.

    Pass 1 reads the corpus (a Unit), a later one the documents of the pass before; its first stage has a decision.
    """

    number: int
    source: Unit | DocumentsFile
    unit: int  # its number, in the order of the corpus
    config: DataConfig
    stages: tuple[Stage, ...]
    observe: Stage | None
    decided: Decided | None = None
    limit: int | None = None

    @property
    def kind(self) -> str:
        """What it is counted as."""
        return "read" if self.number == 1 else f"pass-{self.number}"

    @functools.cached_property
    def id(self) -> str:
        """Name of the task's record and files."""
        stages = [[stage.place, *stage.identity] for stage in self.stages]
        observe = self.observe.observing if self.observe else None
        decided = [self.decided.digest, self.unit] if self.decided else None
        options = [self.config.reading(), self.config.quarantine_dropped]
        content = [VERSIONS["read"], self.source.digest, options, stages, observe, decided, self.limit]
        return task_id(self.kind, content)

    @property
    def only_drops(self) -> bool:
        """Whether it leaves a note of documents that stay, instead of documents."""
        modules = [stage_module(stage.kind) for stage in self.stages]
        return isinstance(self.source, DocumentsFile) and all(getattr(m, "ONLY_DROPS", False) for m in modules)

    def left(self, record: Mapping[str, Any]) -> DocumentsFile:
        """What the task with this record left."""
        digest, size, label = record["digest"], record["text_bytes"], self.source.label
        if isinstance(self.source, DocumentsFile) and self.only_drops:
            return DocumentsFile(self.source.task_id, digest, size, label, kept=self.id)
        return DocumentsFile(self.id, digest, size, label)

    @property
    def label(self) -> str:
        """What to call it in a message."""
        return f"{self.kind} {self.source.label}"

    @property
    def size(self) -> int:
        """Bytes of input."""
        return self.source.size


def run(task: PassTask, work: WorkFolder) -> dict[str, Any]:
    """Keep what the stages leave; the record holds its digest, counts by stage, and of the last pass the contents."""
    folder = work.new_folder(task.id)
    quarantine = Quarantine(folder / QUARANTINE_NAME, with_dropped=task.config.quarantine_dropped)
    tally, bad, contents = Tally(quarantine), BadCounts(task.config), Contents()
    observer = _observer(task.observe)
    with ExitStack() as cleanup:
        cleanup.callback(quarantine.discard)
        documents = _source(task, work, tally, bad)
        writer: KeptWriter | DocumentWriter
        if isinstance(task.source, DocumentsFile) and task.only_drops:
            name, noting = KEPT_NAME, task.source.kept_writer(work, folder / KEPT_NAME)
            documents, writer = noting.watched(documents), noting
        else:
            name, writer = DOCUMENTS_NAME, cleanup.enter_context(DocumentWriter(folder / DOCUMENTS_NAME))
        for document in itertools.islice(_through_stages(documents, task, work, tally), task.limit):
            writer.add(document)
            if observer is not None:
                observer.add(document)
            else:
                contents.add(document)
        if task.limit is None:
            tally.check()
        stored = writer.close()
        files = {name: stored.file_digest}
        if quarantine.file is not None:
            place([quarantine.file])
            files[QUARANTINE_NAME] = quarantine.file_digest
    observed, observations = work.adopt(task.id, OBSERVED_NAME, observer.save) if observer is not None else (None, {})
    return {
        "documents": stored.documents,
        "text_bytes": stored.text_bytes,
        "digest": stored.digest,
        "stages": [asdict(stage) for stage in tally.stages],
        "bad": bad.files,
        "quarantined": quarantine.entries,
        "contents": contents.record() if observer is None else None,
        "observed": observed,
        "observations": observations,
        "files": files | observations,
    }


class BadCounts:
    """Bad documents of each file; InputError when there are more than the config allows."""

    def __init__(self, config: DataConfig) -> None:
        self.files: dict[str, dict[str, Any]] = {}
        self._strict = config.bad_documents == "error"
        self._most = config.max_errors

    def add(self, bad: BadDocument) -> None:
        """Count a bad document."""
        if self._strict:
            raise InputError(f"{bad.describe()} (to skip such documents: data.bad_documents=skip)")
        row = self.files.setdefault(bad.path, {"count": 0, "examples": []})
        row["count"] += 1
        if len(row["examples"]) < MOST_EXAMPLES and (self._most is not None or row["count"] == 1):
            row["examples"].append(bad.describe())
        check_budget(bad.path, row["count"], row["examples"], self._most)


def check_budget(path: str, count: int, examples: Iterable[str], most: int | None) -> None:
    """InputError when a file has more bad documents than `data.max_errors` allows."""
    if most is not None and count > most:
        raise InputError(f"{path}: more than {most} bad documents (data.max_errors={most}): {'; '.join(examples)}")


def check_budgets(records: Iterable[dict[str, Any]], most: int | None) -> None:
    """The same for files that were cut into several units, their records given in order."""
    counts: Counter[str] = Counter()
    examples: dict[str, list[str]] = {}
    for record in records:
        for path, row in record["bad"].items():
            counts[path] += row["count"]
            examples[path] = [*examples.get(path, []), *row["examples"]][:MOST_EXAMPLES]
            check_budget(path, counts[path], examples[path], most)


def _source(task: PassTask, work: WorkFolder, tally: Tally, bad: BadCounts) -> Iterator[Document]:
    if isinstance(task.source, Unit):
        return tally.read(_read(task.source, task.config, bad))
    return iter(replace(task.source.documents(work), lazy=task.only_drops))


def _through_stages(
    documents: Iterator[Document], task: PassTask, work: WorkFolder, tally: Tally
) -> Iterator[Document]:
    for number, stage in enumerate(task.stages):
        step = _step(stage, task, work, decided=number == 0 and task.decided is not None)
        documents = tally.through(stage.place, stage.kind, step, documents)
    return documents


def _read(unit: Unit, config: DataConfig, bad: BadCounts) -> Iterator[Document | BadDocument]:
    for split in unit.splits:
        for document in read(split, config):
            if isinstance(document, BadDocument):
                bad.add(document)
            yield document


def _step(stage: Stage, task: PassTask, work: WorkFolder, *, decided: bool) -> Step:
    module = stage_module(stage.kind)
    if decided:
        assert task.decided is not None
        return module.step(stage.config, task.decided.decision(work, task.unit))
    return module.step(stage.config)


def _observer(stage: Stage | None) -> Observer | None:
    return None if stage is None else stage_module(stage.kind).observer(stage.config)
