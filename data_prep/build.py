"""The stages of a preparation. Where tasks run is the caller's affair (`run_tasks`; `driver` runs them on Ray).

Invariant: the dataset's bytes depend on the config and the corpus's content only.

1. Find the files; a dataset of the same plan already there ends it.
2. The passes over the corpus (`corpus`) leave the documents that count; decide which are held out.
3. Tokenizer: your own; or sample and train, unless one with the same config and samples is there.
4. Tokenize every unit that is not done.
5. Finishes, where the config asks for one: reduce what was seen of the tokens, write the shards again.
6. Publish.
"""

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data_prep.card import CardSample, take_sample
from data_prep.columns.annotate import column_types
from data_prep.config import DataConfig
from data_prep.corpus import Corpus, Observed, Reducer, observed_in, read_corpus
from data_prep.documents import Documents
from data_prep.errors import InputError
from data_prep.plan import (
    Stage,
    heldout_limit,
    plan_digest,
    plan_finishes,
    plan_stages,
    plan_units,
    stage_sections,
)
from data_prep.progress import Progress
from data_prep.publish import PrepReport, StagedShards, prep_report, publish_dataset, published
from data_prep.quarantine import QUARANTINE_NAME
from data_prep.shards import ShardEntry, canonical
from data_prep.shards.files import flush_file, place, staged_bytes
from data_prep.shards.names import MANIFEST_NAME, tar_path
from data_prep.sources.inputs import find_inputs
from data_prep.stages import stage_module
from data_prep.summary import Summary, bad_documents, merged_stages, notes, summarize
from data_prep.tasks import FinishTask, SampleTask, TokenizeTask, TrainTask
from data_prep.tokenizer.own import adopt_model, loss_note
from data_prep.tokenizer.tokenizer import MODEL_NAME, Tokenizer
from data_prep.waves import Record, RunTasks, Waves, shard_entries
from data_prep.work import WORK_NAME, WorkFolder, file_digest


@dataclass(frozen=True)
class _Tokenized:
    tasks: Sequence[TokenizeTask]
    records: Sequence[Record]


class Build:
    """One preparation, stage by stage."""

    def __init__(
        self,
        config: DataConfig,
        out: Path,
        run_tasks: RunTasks,
        progress: Progress,
        start_workers: Callable[[], None] | None = None,
    ) -> None:
        self._config, self._out, self._progress = config, out, progress
        self._work = WorkFolder(out / WORK_NAME)
        self._beside = ThreadPoolExecutor(4)  # for what does not need the workers, beside them
        self._flushes: list[Future[None]] = []
        self._waves = Waves(self._work, run_tasks, progress, start_workers, self._flush_beside)
        self._reducer = Reducer(self._waves)
        self._finishes = plan_finishes(config)
        self._notes: list[str] = []

    def run(self) -> PrepReport:
        """Make the dataset, or find it made."""
        try:
            return self._made()
        finally:
            self._beside.shutdown(cancel_futures=True)

    def _made(self) -> PrepReport:
        files = find_inputs(self._config)
        own_path = self._config.tokenizer.path
        own_model = adopt_model(Path(own_path)) if own_path else None
        stages = plan_stages(self._config, [_input_digests(section) for section in stage_sections(self._config)])
        own_digest = canonical.digest(own_model) if own_model else None
        plan = plan_digest(self._config, files, [*stages, *self._finishes], own_digest)
        with self._work.locked():
            if manifest := published(self._out, self._work, plan):
                return prep_report(self._out, manifest, did_nothing=True)
            loading = self._beside.submit(self._own_tokenizer, own_model) if own_model else None
            units = plan_units(files, self._config)
            corpus = read_corpus(self._config, units, stages, self._reducer, self._waves, self._work)
            limit = self._heldout_limit(corpus)
            tokenizer = loading.result() if loading else self._trained_tokenizer(corpus, limit)
            if loading and (note := loss_note(tokenizer)):
                self._note(note)
            if tokenizer.why_slow:
                self._progress.note(f"SentencePiece encodes, more slowly than could be: {tokenizer.why_slow}")
            sampling = self._beside.submit(take_sample, tokenizer, self._documents(corpus))
            tokenized = self._tokenize(corpus, tokenizer, limit)
            shards = self._finish(tokenized, tokenizer) if self._finishes else _staged(self._work, tokenized)
            return self._publish(plan, corpus, tokenizer, tokenized, shards, sampling.result())

    def _heldout_limit(self, corpus: Corpus) -> int:
        hashes = [bound for record in corpus.passes[-1].records for bound in record["contents"]["hashes"]]
        if not hashes:
            left_out = notes(stage for result in corpus.passes for stage in merged_stages(result.records))
            found = f" ({'; '.join(left_out)})" if left_out else ": there is only white space in it"
            raise InputError(f"data.paths: {', '.join(self._config.paths)}: no documents{found}")
        limit = heldout_limit(self._config.heldout_fraction, min(hashes), max(hashes))
        if self._config.heldout_fraction and limit < 0:
            self._note("no document is held out: the corpus has only one document (or copies of one)")
        return limit

    def _own_tokenizer(self, model: bytes) -> Tokenizer:
        folder = self._work.new_folder(f"own-{canonical.digest(model)[:24]}")
        place([staged_bytes(folder / MODEL_NAME, model)])
        tokenizer = Tokenizer.load(folder)
        tokenizer.encode("")  # makes it ready
        return tokenizer

    def _trained_tokenizer(self, corpus: Corpus, limit: int) -> Tokenizer:
        config, documents = self._config.tokenizer, corpus.passes[-1].documents
        rate = min(1.0, config.sample_bytes / sum(file.size for file in documents))
        samples = [SampleTask(file, rate, limit) for file in documents]
        task = TrainTask(config, tuple(sample.id for sample in samples))
        if not self._waves.stands(task):
            self._waves.run(samples)
        self._waves.used |= set(task.samples)  # kept for another tokenizer of the same text
        [record] = self._waves.run([task])
        if record["vocab_size"] < config.vocab_size and config.kind != "byte":
            self._note(
                f"the corpus supports a vocabulary of {record['vocab_size']:,} pieces, not the {config.vocab_size:,} "
                "asked for (data.tokenizer.vocab_size): the smaller one is used"
            )
        return Tokenizer.load(self._work.folder(task.id))

    def _tokenize(self, corpus: Corpus, tokenizer: Tokenizer, limit: int) -> _Tokenized:
        config = self._config
        tasks = [
            TokenizeTask(
                documents=documents,
                tokenizer_folder=tokenizer.folder.name,
                tokenizer=tokenizer.digest,
                heldout_limit=limit,
                shards=config.shards,
                columns=config.columns,
                finishes=tuple(self._finishes),
            )
            for documents in corpus.passes[-1].documents
        ]
        return _Tokenized(tasks, self._waves.run(tasks))

    def _finish(self, tokenized: _Tokenized, tokenizer: Tokenizer) -> StagedShards:
        decided = tuple(
            (stage, self._reducer.decide(stage, self._observed(stage, tokenized))) for stage in self._finishes
        )
        pairs = zip(tokenized.tasks, (record["chunks"] for record in tokenized.records), strict=True)
        columns = column_types(self._config.columns.model_copy(update={"weight": None}))
        tasks = [
            FinishTask(
                tokenized=task.id,
                splits=tuple(chunks),
                unit=unit,
                finishes=decided,
                vocab_size=tokenizer.vocab_size,
                shards=self._config.shards,
                columns=columns,
                size=sum(stored["bytes"] for stored in chunks.values()),
            )
            for unit, (task, chunks) in enumerate(pairs)
        ]
        records = self._waves.run(tasks)
        return [
            (self._work.folder(task.id), shard_entries(record)) for task, record in zip(tasks, records, strict=True)
        ]

    def _flush_beside(self, folder: Path, entries: Iterable[ShardEntry]) -> None:
        """Begin to bring shards to the disk. `_publish` asks how it went: the system tells of a failure only once."""
        self._flushes += [self._beside.submit(flush_file, tar_path(folder, entry.name)) for entry in entries]

    def _observed(self, stage: Stage, tokenized: _Tokenized) -> Observed:
        folders = [f"{task.id}/observed-{stage.kind}" for task in tokenized.tasks]
        return observed_in(self._work, folders, [record["observations"][stage.kind] for record in tokenized.records])

    def _documents(self, corpus: Corpus) -> list[Documents]:
        return [file.documents(self._work) for file in corpus.passes[-1].documents]

    def _publish(
        self,
        plan: str,
        corpus: Corpus,
        tokenizer: Tokenizer,
        tokenized: _Tokenized,
        shards: StagedShards,
        sample: CardSample,
    ) -> PrepReport:
        summary = summarize(corpus, tokenized.records, tokenizer)
        for line in notes(summary["stages"]):
            self._note(line)
        with self._waves.timed("publish"):
            for flush in self._flushes:
                flush.result()
            manifest = publish_dataset(
                self._out,
                self._config,
                tokenizer,
                shards,
                columns=column_types(self._config.columns),
                report=self._report(corpus, summary),
                quarantines=self._quarantines(corpus),
                sample=sample,
            )
            self._work.save_published({"plan": plan, "manifest": file_digest(self._out / MANIFEST_NAME)})
            self._work.prune({*self._waves.used, tokenizer.folder.name})
        return prep_report(self._out, manifest, seconds=self._waves.seconds)

    def _report(self, corpus: Corpus, summary: Summary) -> dict[str, Any]:
        skipped, examples = bad_documents(summary)
        return {
            "text_bytes": sum(record["text_bytes"] for record in corpus.passes[-1].records),
            "skipped": skipped,
            "examples": examples,
            "notes": self._notes,
            "summary": summary,
        }

    def _quarantines(self, corpus: Corpus) -> list[tuple[Path, int]]:
        """The quarantine files of all passes and units that have one, with their numbers of entries."""
        return [
            (self._work.folder(task.id) / QUARANTINE_NAME, record["quarantined"])
            for result in corpus.passes
            for task, record in zip(result.tasks, result.records, strict=True)
            if record["quarantined"]
        ]

    def _note(self, message: str) -> None:
        self._notes.append(message)
        self._progress.note(message)


def _staged(work: WorkFolder, tokenized: _Tokenized) -> StagedShards:
    pairs = zip(tokenized.tasks, tokenized.records, strict=True)
    return [(work.folder(task.id), shard_entries(record)) for task, record in pairs]


def _input_digests(section: Any) -> tuple[str, ...]:
    """Digests of the files that a stage reads besides the corpus."""
    module = stage_module(section.kind)
    return tuple(file_digest(Path(path)) for path in module.inputs(section)) if hasattr(module, "inputs") else ()
