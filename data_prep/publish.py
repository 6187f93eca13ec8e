"""From finished tasks to a dataset: shards get their final names, the manifest is written last.

Invariant: while `manifest.json` stands, every file it lists is the one it lists.

1. The manifest of an earlier dataset goes first, then its shards, card and quarantine.
2. Shards are linked to `shard-00000`, `shard-00001`, ... (train) and `heldout-00000`, ... in the order of the plan,
   and brought to the disk.
3. The quarantine is put together, the tokenizer copied, the card made, and the manifest written from shards that
   verify.
"""

import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from data_prep.card import CardSample, data_card
from data_prep.config import DataConfig
from data_prep.errors import CorruptionError, InputError
from data_prep.quarantine import QUARANTINE_NAME, Quarantine
from data_prep.shards import (
    Column,
    Dataset,
    Manifest,
    ShardEntry,
    build_manifest,
    describe_tokenizer,
    flush_shards,
    link_shard,
    write_manifest,
)
from data_prep.shards.files import named_errors, publish, staged_bytes, sync_folder
from data_prep.shards.names import CARD_NAME, MANIFEST_NAME
from data_prep.sources.inputs import corpus_name
from data_prep.tokenizer.tokenizer import MODEL_NAME, Tokenizer
from data_prep.work import WorkFolder, file_digest

StagedShards = Sequence[tuple[Path, dict[str, ShardEntry]]]  # of each task, in order: its folder, its entries by split

TOKENIZER_NAME = "tokenizer"
SHARD_NAMES = {"train": "shard-{:05d}", "heldout": "heldout-{:05d}"}
_OWN_FILE = re.compile(r"(shard|heldout)-\d{5,}\.(tar|index)|" + "|".join(map(re.escape, (QUARANTINE_NAME, CARD_NAME))))


@dataclass(frozen=True)
class PrepReport:
    """What a preparation has made (or found already made: `did_nothing`)."""

    folder: Path
    name: str
    fingerprint: str
    vocab_size: int
    documents: dict[str, int]  # by split
    tokens: dict[str, int]  # by split
    text_bytes: int
    skipped: dict[str, int]  # bad documents by reason
    examples: dict[str, str]  # the first of each reason, as file:line: what is wrong
    notes: list[str]
    did_nothing: bool = False
    seconds: dict[str, float] = field(default_factory=dict)  # by stage


def publish_dataset(
    out: Path,
    config: DataConfig,
    tokenizer: Tokenizer,
    shards: StagedShards,
    *,
    columns: Mapping[str, Column],
    report: dict[str, Any],
    quarantines: Sequence[tuple[Path, int]],
    sample: CardSample,
) -> Manifest:
    """Make `out` the dataset of `shards`.

    `quarantines`: what the units left out, files with numbers of entries; `sample`: what the card shows of the texts.
    """
    _remove_dataset(out)
    splits: dict[str, list[ShardEntry]] = {split: [] for split in SHARD_NAMES}
    for folder, entries in shards:
        for split, entry in entries.items():
            name = SHARD_NAMES[split].format(len(splits[split]))
            splits[split].append(link_shard(folder, entry, out, name))
    flush_shards(out, [entry for entries in splits.values() for entry in entries])
    _publish_quarantine(out, quarantines)
    target = out / TOKENIZER_NAME
    with named_errors(target, "write"):
        target.mkdir()
    publish([staged_bytes(target / MODEL_NAME, (tokenizer.folder / MODEL_NAME).read_bytes())])
    described = describe_tokenizer(out, TOKENIZER_NAME, tokenizer.digest, tokenizer.vocab_size)
    manifest = build_manifest(corpus_name(config), described, splits, config.content(), report, columns)
    publish([staged_bytes(out / CARD_NAME, data_card(out, manifest, config, tokenizer, sample))])
    write_manifest(out, manifest)
    return manifest


def published(out: Path, work: WorkFolder, plan: str) -> Manifest | None:
    """The manifest of the dataset in `out` if it is the one of `plan` and no file of it is missing."""
    record = work.published()
    try:
        dataset = Dataset.open(out)
        known = record == {"plan": plan, "manifest": file_digest(out / MANIFEST_NAME)}
        if known and dataset.tokenizer_folder and (out / CARD_NAME).is_file():
            return dataset.manifest
    except (InputError, CorruptionError):
        pass
    return None


def prep_report(out: Path, manifest: Manifest, **more: Any) -> PrepReport:
    """The report of a published dataset."""
    return PrepReport(
        folder=out,
        name=manifest.name,
        fingerprint=manifest.fingerprint,
        vocab_size=manifest.tokenizer.vocab_size,
        documents={split: sum(entry.documents for entry in entries) for split, entries in manifest.splits.items()},
        tokens={split: sum(entry.tokens for entry in entries) for split, entries in manifest.splits.items()},
        text_bytes=manifest.report["text_bytes"],
        skipped=manifest.report["skipped"],
        examples=manifest.report["examples"],
        notes=manifest.report["notes"],
        **more,
    )


def _publish_quarantine(out: Path, parts: Sequence[tuple[Path, int]]) -> None:
    quarantine = Quarantine(out / QUARANTINE_NAME)
    try:
        quarantine.join(parts)
        if quarantine.file is not None:
            publish([quarantine.file])
    finally:
        quarantine.discard()


def _remove_dataset(out: Path) -> None:
    with named_errors(out, "write"):
        (out / MANIFEST_NAME).unlink(missing_ok=True)
        sync_folder(out)
        for path in out.iterdir():
            if _OWN_FILE.fullmatch(path.name):
                path.unlink()
        if (out / TOKENIZER_NAME).exists():
            shutil.rmtree(out / TOKENIZER_NAME)
