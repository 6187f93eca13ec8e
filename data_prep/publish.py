"""From finished tasks to a dataset: shards get their final names, the manifest is written last.

Invariant: while `manifest.json` stands, every file it lists is the one it lists.

1. The manifest of an earlier dataset goes first, then its shards.
2. Shards are linked to `shard-00000`, `shard-00001`, ... (train) and `heldout-00000`, ... in the order of the plan.
3. The tokenizer is copied, and the manifest written from shards that verify.
"""

import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from data_prep.config import DataConfig
from data_prep.errors import CorruptionError, InputError
from data_prep.shards import (
    Dataset,
    Manifest,
    ShardEntry,
    build_manifest,
    describe_tokenizer,
    link_shard,
    write_manifest,
)
from data_prep.shards.files import named_errors, publish, staged_bytes, sync_folder
from data_prep.shards.names import MANIFEST_NAME
from data_prep.sources.inputs import corpus_name
from data_prep.tokenizer.tokenizer import MODEL_NAME, Tokenizer

TOKENIZER_NAME = "tokenizer"
SHARD_NAMES = {"train": "shard-{:05d}", "heldout": "heldout-{:05d}"}
_OWN_FILE = re.compile(r"(shard|heldout)-\d{5,}\.(tar|index)")


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
    shards: Sequence[tuple[Path, dict[str, ShardEntry]]],
    report: dict[str, Any],
) -> Manifest:
    """Make `out` the dataset of `shards`: for each task, in order, its folder and its entries by split."""
    _remove_dataset(out)
    splits: dict[str, list[ShardEntry]] = {split: [] for split in SHARD_NAMES}
    for folder, entries in shards:
        for split, entry in entries.items():
            name = SHARD_NAMES[split].format(len(splits[split]))
            splits[split].append(link_shard(folder, entry, out, name))
    target = out / TOKENIZER_NAME
    with named_errors(target, "write"):
        target.mkdir()
    publish([staged_bytes(target / MODEL_NAME, (tokenizer.folder / MODEL_NAME).read_bytes())])
    described = describe_tokenizer(out, TOKENIZER_NAME, tokenizer.digest, tokenizer.vocab_size)
    manifest = build_manifest(corpus_name(config), described, splits, config.content(), report)
    write_manifest(out, manifest)
    return manifest


def published(out: Path, plan: str) -> Manifest | None:
    """The manifest of the dataset in `out` if it is the one of `plan` and no file of it is missing."""
    try:
        dataset = Dataset.open(out)
        if dataset.manifest.report.get("plan") == plan and dataset.tokenizer_folder:
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


def _remove_dataset(out: Path) -> None:
    with named_errors(out, "write"):
        (out / MANIFEST_NAME).unlink(missing_ok=True)
        sync_folder(out)
        for path in out.iterdir():
            if _OWN_FILE.fullmatch(path.name):
                path.unlink()
        if (out / TOKENIZER_NAME).exists():
            shutil.rmtree(out / TOKENIZER_NAME)
