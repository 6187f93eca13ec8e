"""The stages of a preparation. Where tasks run is the caller's affair (`run_tasks`; `driver` runs them on Ray).

Invariant: the dataset's bytes depend on the config and the corpus's content only.

1. Find the files, digest them; a dataset of the same plan already there ends it.
2. Scan: count documents, decide how many count and which are held out.
3. Tokenizer: your own; or sample and train, unless one with the same config and samples is there.
4. Tokenize every unit that is not done.
5. Publish.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from data_prep.config import DataConfig
from data_prep.errors import InputError
from data_prep.plan import TrainTask, Unit, UnitTask, document_limits, heldout_limit, plan_digest, plan_units
from data_prep.progress import Progress
from data_prep.publish import PrepReport, prep_report, publish_dataset, published
from data_prep.shards import ShardEntry, canonical
from data_prep.shards.files import named_errors, publish, staged_bytes
from data_prep.sources.inputs import find_inputs
from data_prep.tokenizer.own import adopt_model, loss_note
from data_prep.tokenizer.tokenizer import MODEL_NAME, Tokenizer
from data_prep.waves import Record, RunTasks, Waves, shard_entries
from data_prep.work import WORK_NAME, WorkFolder

Tokenized = list[tuple[UnitTask, dict[str, ShardEntry]]]


@dataclass(frozen=True)
class _Corpus:
    """What the scan found out: the units that count, with their document limits."""

    scans: list[UnitTask]
    limits: list[int | None]
    text_bytes: int
    heldout_limit: int
    skipped: dict[str, int]
    examples: dict[str, str]


class Build:
    """One preparation, stage by stage."""

    def __init__(self, config: DataConfig, out: Path, run_tasks: RunTasks, progress: Progress) -> None:
        self._config, self._out, self._progress = config, out, progress
        self._work = WorkFolder(out / WORK_NAME)
        self._waves = Waves(self._work, run_tasks, progress)
        self._notes: list[str] = []

    def run(self) -> PrepReport:
        """Make the dataset, or find it made."""
        files = find_inputs(self._config)
        own_path = self._config.tokenizer.path
        own_model = adopt_model(Path(own_path)) if own_path else None
        with self._work.locked():
            with self._waves.timed("plan"):
                files = self._work.digested(files)
                plan = plan_digest(self._config, files, canonical.digest(own_model) if own_model else None)
            if manifest := published(self._out, plan):
                return prep_report(self._out, manifest, did_nothing=True)
            corpus = self._scan(plan_units(files, self._config))
            tokenizer = self._own_tokenizer(own_model) if own_model else self._trained_tokenizer(corpus)
            return self._publish(plan, corpus, tokenizer, self._tokenize(corpus, tokenizer))

    def _scan(self, units: list[Unit]) -> _Corpus:
        most = self._config.max_documents
        scans = [UnitTask("scan", unit, self._config, most) for unit in units]
        records = self._waves.run(scans)
        limits = document_limits((record["documents"] for record in records), most)
        if most is not None:
            # The unit in which the limit is reached gives fewer documents than it has: what counts is found again.
            scans = [replace(scan, limit=limit) for scan, limit in zip(scans, limits, strict=True) if limit]
            limits = [limit for limit in limits if limit]
            records = self._waves.run(scans) if scans else records
        return self._corpus(scans, limits, records)

    def _corpus(self, scans: list[UnitTask], limits: list[int | None], records: Sequence[Record]) -> _Corpus:
        skipped: Counter[str] = Counter()
        examples: dict[str, str] = {}
        for record in records:
            skipped.update(record["skipped"])
            examples = record["examples"] | examples
        bounds = [bound for record in records for bound in record["hashes"] or ()]
        if not bounds:
            found = f" ({'; '.join(_left_out(skipped, examples))})" if skipped else ": there is only white space in it"
            raise InputError(f"data.paths: {', '.join(self._config.paths)}: no documents{found}")
        return _Corpus(
            scans=scans,
            limits=limits,
            text_bytes=sum(record["text_bytes"] for record in records),
            heldout_limit=heldout_limit(self._config.heldout_fraction, min(bounds), max(bounds)),
            skipped=dict(skipped),
            examples=examples,
        )

    def _own_tokenizer(self, model: bytes) -> Tokenizer:
        folder = self._work.folder(f"own-{canonical.digest(model)[:24]}")
        with named_errors(folder, "write"):
            folder.mkdir(exist_ok=True)
        publish([staged_bytes(folder / MODEL_NAME, model)])
        tokenizer = Tokenizer.load(folder)
        if note := loss_note(tokenizer):
            self._note(note)
        return tokenizer

    def _trained_tokenizer(self, corpus: _Corpus) -> Tokenizer:
        config = self._config.tokenizer
        samples = self._unit_tasks("sample", corpus, rate=min(1.0, config.sample_bytes / corpus.text_bytes))
        task = TrainTask(config, tuple(sample.id for sample in samples))
        if not self._waves.stands(task):
            self._waves.run(samples)
        [record] = self._waves.run([task])
        if record["vocab_size"] < config.vocab_size:
            self._note(
                f"the corpus supports a vocabulary of {record['vocab_size']:,} pieces, not the {config.vocab_size:,} "
                "asked for (data.tokenizer.vocab_size): the smaller one is used"
            )
        return Tokenizer.load(self._work.folder(task.id))

    def _tokenize(self, corpus: _Corpus, tokenizer: Tokenizer) -> Tokenized:
        tasks = self._unit_tasks(
            "tokenize",
            corpus,
            tokenizer=tokenizer.digest,
            heldout_limit=corpus.heldout_limit,
            shards=self._config.shards.model_dump(mode="json"),
        )
        tasks = [replace(task, tokenizer_folder=tokenizer.folder.name) for task in tasks]
        return [(task, shard_entries(record)) for task, record in zip(tasks, self._waves.run(tasks), strict=True)]

    def _publish(self, plan: str, corpus: _Corpus, tokenizer: Tokenizer, tokenized: Tokenized) -> PrepReport:
        if corpus.skipped:
            for line in _left_out(corpus.skipped, corpus.examples):
                self._note(line)
        if self._config.heldout_fraction and corpus.heldout_limit < 0:
            self._note("no document is held out: the corpus has only one document (or copies of one)")
        report = {
            "plan": plan,
            "text_bytes": corpus.text_bytes,
            "skipped": corpus.skipped,
            "examples": corpus.examples,
            "notes": self._notes,
        }
        shards = [(self._work.folder(task.id), entries) for task, entries in tokenized]
        with self._waves.timed("publish"):
            manifest = publish_dataset(self._out, self._config, tokenizer, shards, report)
            built = {task.id for task in corpus.scans} | {task.id for task, _ in tokenized}
            self._work.prune({*built, tokenizer.folder.name})
        return prep_report(self._out, manifest, seconds=self._waves.seconds)

    def _unit_tasks(self, kind: str, corpus: _Corpus, **settings: Any) -> list[UnitTask]:
        pairs = zip(corpus.scans, corpus.limits, strict=True)
        return [UnitTask(kind, scan.unit, self._config, limit, tuple(settings.items())) for scan, limit in pairs]

    def _note(self, message: str) -> None:
        self._notes.append(message)
        self._progress.note(message)


def _left_out(skipped: Mapping[str, int], examples: Mapping[str, str]) -> list[str]:
    """What was left out, a line for each reason with its first example."""
    return [
        f"{skipped[reason]:,} left out as {reason.replace('_', ' ')}: {'' if skipped[reason] == 1 else 'first '}"
        f"{examples[reason]}"
        for reason in sorted(skipped)
    ]
