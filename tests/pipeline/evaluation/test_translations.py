"""Bitext and the linear probe on real translations: the Debian Reference in English, German and Japanese."""

import html
import json
import os
import re
from pathlib import Path

import pytest
import torch

from data_prep.driver import prepare
from pipeline.config import load_config
from pipeline.evaluation.probes import bitext, linear_probe
from pipeline.evaluation.subject import Options, RunParts, Subject
from pipeline.evaluation.texts import Texts
from pipeline.objectives import build_objective
from pipeline.training.assembly import open_data

FOLDER = Path("/usr/share/debian-reference")
LANGUAGES = ("de", "en", "ja")
_TAG = re.compile(r"(?s)<head.*?</head>|<[^>]*>")
MODEL = (
    "model={architecture: bert, d_model: 64, d_kv: 16, d_ff: 128, num_layers: 2, num_heads: 4, "
    "positions: {kind: learned, max_positions: 512}}"
)


@pytest.fixture(scope="module")
def subject(tmp_path_factory: pytest.TempPathFactory) -> Subject:
    """A model with first weights, asked about the chapters."""
    if missing := [language for language in LANGUAGES if not (FOLDER / f"ch03.{language}.html").exists()]:
        message = f"not installed: {', '.join(f'debian-reference-{language}' for language in missing)}"
        pytest.fail(message) if os.environ.get("CI") else pytest.skip(message)
    folder = tmp_path_factory.mktemp("translations")
    write_chapters(folder / "chapters.jsonl")
    parallel = f"{{languages: [{', '.join(LANGUAGES)}], align: field}}"
    config = load_config(
        "bert",
        [
            f"data.paths=[{folder}/chapters.jsonl]", f"data.dir={folder}/data", f"data.parallel={parallel}",
            "data.columns={lang: true, pair: true}", "data.heldout_fraction=0", "data.workers=1", MODEL,
            "data.tokenizer={vocab_size: 1500, sample_bytes: 100000}", "stream.window=254",
        ],
    )  # fmt: skip
    prepare(config.data, folder / "data")
    data = open_data(config)
    objective = build_objective(config.objective, config.model, data.tokenizer.vocab_size, seed=0)
    run = RunParts(config, data, {name: value.detach() for name, value in objective.named_parameters()}, 1, 1)
    return Subject.of_run(run, Texts(data.dataset, data.tokenizer), Options())


def write_chapters(path: Path) -> None:
    """A record for each page with its text in all languages (one file: no cluster is needed to prepare it)."""
    with open(path, "w", encoding="utf-8") as file:
        for page in sorted(FOLDER.glob("*.en.html")):
            pages = {language: page.with_name(page.name.replace(".en.", f".{language}.")) for language in LANGUAGES}
            texts = {language: html.unescape(_TAG.sub("", page.read_text("utf-8"))) for language, page in pages.items()}
            file.write(json.dumps({language: text[:20_000] for language, text in texts.items()}) + "\n")


@pytest.mark.usefixtures("one_thread")
def test_translations_are_found_by_languages_and_better_than_by_chance(subject: Subject) -> None:
    """Of first weights: what the names and commands that translations share give."""
    figures = bitext.measure(subject)
    assert figures.groups["languages"].keys() == {"de - en", "de - ja", "en - ja"}
    chance = figures.groups["beside"]["chance"]["accuracy"].value
    for metrics in (figures.metrics, figures.groups["languages"]["de - en"]):
        assert metrics["accuracy"].low is not None
        assert metrics["accuracy"].value > 2 * chance
    assert set(figures.settings["pairs"]) == {"de - en", "de - ja", "en - ja"}
    assert len(figures.values) == sum(figures.settings["pairs"].values())


@pytest.mark.usefixtures("one_thread")
def test_languages_are_told_by_a_linear_map(subject: Subject) -> None:
    figures = linear_probe.measure(subject)
    largest = figures.groups["language, beside"]["largest class"]["language_accuracy"].value
    assert figures.settings["languages"] == list(LANGUAGES)
    assert "source_accuracy" not in figures.metrics, "all pages lie in one file"
    assert figures.metrics["language_accuracy"].low > largest


def test_a_page_has_as_many_translations_as_languages(subject: Subject) -> None:
    for (first, second), pairs in subject.texts.translations().items():
        assert first < second
        assert all((one.language, other.language) == (first, second) for one, other in pairs)
        assert all(one.pair == other.pair for one, other in pairs)
    assert torch.isfinite(torch.from_numpy(subject.vectors(["ein Text"]))).all()
