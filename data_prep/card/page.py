"""`card.html`: one file to look at, without network, scripts or fonts of its own.

Invariant: the page's bytes depend on the dataset, its config and the corpus alone. No text of the corpus is ever taken
for markup (`data_prep.pages.frame`).

1. What the manifest knows: counts by stage (`flow`), lengths, languages, sources, duplicates, groups (`contents`).
2. A small sample of the corpus: documents to read (`sample`), and how the tokenizer does on them (`vocabulary`).
3. One document of the shards with its columns (`annotated`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data_prep.card import annotated, contents, flow
from data_prep.card.asked import asked
from data_prep.card.sample import Sampled, examples, sample_documents
from data_prep.card.vocabulary import Vocabulary, vocabulary
from data_prep.config import DataConfig
from data_prep.documents import Documents
from data_prep.pages import words
from data_prep.pages.frame import as_bytes, template
from data_prep.pages.yaml_text import as_yaml
from data_prep.quarantine import QUARANTINE_NAME
from data_prep.shards import Dataset, Manifest
from data_prep.tokenizer import Tokenizer

EXAMPLES, EXCERPT_CHARS = 8, 700


@dataclass(frozen=True)
class CardSample:
    """What the card shows of the corpus itself: a small sample of it, and how the tokenizer does on that."""

    documents: Sequence[Sampled]
    vocabulary: Vocabulary


def take_sample(tokenizer: Tokenizer, documents: Sequence[Documents]) -> CardSample:
    """A sample of what the dataset is made of, by unit."""
    sample = sample_documents(documents)
    return CardSample(sample, vocabulary(tokenizer, sample))


def data_card(folder: Path, manifest: Manifest, config: DataConfig, tokenizer: Tokenizer, sample: CardSample) -> bytes:
    """The card of the dataset in `folder`, whose shards are there; `manifest` need not be."""
    page = template(Path(__file__).parent, "card.html.jinja").render(
        **_overview(manifest, config),
        **_history(manifest.report["summary"]),
        vocabulary=sample.vocabulary,
        columns={name: (column, annotated.ABOUT.get(name, "")) for name, column in manifest.columns.items()},
        annotated=annotated.annotated_document(Dataset(folder, manifest).split("train"), manifest.columns, tokenizer),
        examples=[_excerpt(document) for document in examples(sample.documents, EXAMPLES)],
    )
    return as_bytes(page)


def _overview(manifest: Manifest, config: DataConfig) -> dict[str, Any]:
    """What is in the dataset."""
    report = manifest.report
    splits = [
        (name, sum(e.documents for e in entries), sum(e.tokens for e in entries), len(entries), _size(entries))
        for name, entries in sorted(manifest.splits.items(), key=lambda item: (item[0] != "train", item[0]))
    ]
    return {
        "manifest": manifest,
        "splits": splits,
        "text_bytes": report["text_bytes"],
        "notes": report["notes"],
        "tokenizer_kind": "your own model" if config.tokenizer.path else config.tokenizer.kind,
        "asked": as_yaml({"data": asked(config)}),
        "resolved": as_yaml({"data": config.content()}),
        "quarantine_name": QUARANTINE_NAME,
    }


def _history(summary: dict[str, Any]) -> dict[str, Any]:
    """What happened to the corpus on its way."""
    return {
        "bars": flow.bars(summary),
        "bar_width": flow.BAR_WIDTH,
        "row_height": flow.ROW_HEIGHT,
        "bar_height": flow.BAR_HEIGHT,
        "stages": flow.stage_rows(summary),
        "quarantined": summary["quarantined"],
        "common_lines": contents.common_lines(summary),
        "duplicates": contents.duplicates(summary),
        "lengths": contents.length_bars(summary),
        "languages": contents.language_rows(summary),
        "sources": contents.source_rows(summary),
        "groups": contents.select_rows(summary),
    }


def _size(entries: Sequence[Any]) -> str:
    return words.size(sum(entry.size for entry in entries))


def _excerpt(document: Sampled) -> tuple[Sampled, str, int]:
    """A document, the beginning of its text, and how many characters are left out."""
    text = document.text[:EXCERPT_CHARS]
    return document, text, document.characters - len(text)
