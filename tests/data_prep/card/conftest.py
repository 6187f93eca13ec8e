"""A small corpus on which every stage has something to do, with texts that look like markup, and its card."""

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from data_prep.config import DataConfig

ATTACK = "<script>alert('boo')</script></pre></title></style><img src=x onerror=alert(1)>"
GERMAN = "der die das Hund schläft im Garten während Kinder auf Wiese spielen und lachen über einen alten Baum am Fluss"
ENGLISH = "the a this dog sleeps in garden while children play on meadow and laugh about an old tree beside river they"
EVALUATION = (
    "a text by which models are measured and which nobody may have seen before the measurement takes place at all"
)
STAGES: list[Any] = [
    {"kind": "clean", "min_chars": 20},
    {"kind": "language", "keep": ["de", "en"]},
    {"kind": "boilerplate", "max_documents": 10},
    "dedup",
]


def text(words: str, seed: int) -> str:
    """Sentences of these words that no other seed gives."""
    chosen = random.Random(seed).choices(words.split(), k=160)
    return " ".join(f"{word}." if n % 9 == 8 else word for n, word in enumerate(chosen))


def write_corpus(folder: Path) -> Path:
    """JSON lines in two folders, each with something that a stage drops."""
    pages = [f"{text(ENGLISH, n)}\n\nCopyright of the people who wrote this page." for n in range(30)]
    french = "Le chien dort dans le jardin pendant que les enfants jouent dans la prairie et rient. " * 5
    texts = {
        "web/pages.jsonl": [*pages, pages[3], "too short", french, f"{EVALUATION}. {text(ENGLISH, 91)}"],
        "books/a.jsonl": [*(text(GERMAN, n) for n in range(8)), f"{ATTACK} {text(GERMAN, 92)}", ATTACK[:18]],
    }
    for name, documents in texts.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = [
            json.dumps({"text": text, "id": f"{name}/{n}{ATTACK if n == 0 else ''}"})
            for n, text in enumerate(documents)
        ]
        path.write_text("\n".join([*lines, "no json"]) + "\n")
    (folder / "evaluation.txt").write_text(EVALUATION)
    return folder


@pytest.fixture(scope="session")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The corpus."""
    return write_corpus(tmp_path_factory.mktemp("mixed"))


@pytest.fixture(scope="session")
def every_stage(mixed: Path, small_config: Callable[..., DataConfig]) -> DataConfig:
    """All stages, all columns, and a finish."""
    decontaminate = {"kind": "decontaminate", "paths": [str(mixed / "evaluation.txt")]}
    columns = {"words": "unicode", "sents": "rules", "lang": True, "pair": True, "spans": "html", "weight": "pmi"}
    return small_config(
        mixed,
        include=["*.jsonl"],
        id_field="id",
        name="mixed",
        stages=[*STAGES, decontaminate, {"kind": "select", "by": "lang", "temperature": 5}],
        columns=columns,
    )


@pytest.fixture(scope="session")
def attack() -> str:
    """What one of the documents, and two of the ids, hold."""
    return ATTACK


@pytest.fixture(scope="session")
def dataset(every_stage: DataConfig, make_inline: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset with every stage."""
    out = tmp_path_factory.mktemp("card") / "dataset"
    make_inline().build(every_stage, out)
    return out


@pytest.fixture(scope="session")
def card(dataset: Path) -> str:
    """Its card."""
    return (dataset / "card.html").read_text(encoding="utf-8")
