"""The card says what is in the dataset, is the same every time, and takes no text for markup."""

import html
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from data_prep.config import DataConfig
from data_prep.shards import Dataset, audit_dataset
from tests.browser import needs_chromium, open_browser

SECTIONS = ("dataset", "flow", "lengths", "languages", "sources", "tokenizer", "documents", "config")
OF_SOME = ("duplicates", "mixture", "columns")  # only where there is something to say
VOID = {"meta", "br", "wbr", "img", "link", "input"}


class Page(HTMLParser):
    """The elements of a page, its text by section, and whether every element is closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.sections: dict[str, str] = {}
        self._open: list[str] = []
        self._section = ""
        self.feed(text)
        self.close()
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag == "section":
            self._section = dict(attrs)["id"] or ""
            self.sections[self._section] = ""
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag
        self.handle_data(" ")  # between the cells of a table

    def handle_data(self, data: str) -> None:
        if self._section:
            self.sections[self._section] += data


def test_a_dataset_with_every_stage_has_every_section(card: str) -> None:
    page = Page(card)
    assert sorted(page.sections) == sorted((*SECTIONS, *OF_SOME))
    links = {attributes["href"] for tag, attributes in page.elements if tag == "a"}
    assert links == {f"#{name}" for name in page.sections} | {"quarantine.jsonl"}


def test_what_was_dropped_is_there_with_reasons_and_examples(card: str) -> None:
    flow = Page(card).sections["flow"]
    for reason in ("bad json", "short", "language", "exact duplicate", "contaminated"):
        assert re.search(rf"{reason}\s+[1-9]\d* documents?, ", flow), reason
    assert "too short" in flow  # the text
    assert "9 characters, less than 20" in flow
    assert "fr (" in flow
    assert "the same as web/pages.jsonl/3" in flow
    assert "nobody may have seen" in flow
    assert "in quarantine.jsonl" in flow


def test_numbers_are_those_of_the_manifest(card: str, dataset: Path) -> None:
    manifest = Dataset.open(dataset).manifest
    page = Page(card)
    assert manifest.fingerprint in page.sections["dataset"]
    for entries in manifest.splits.values():
        assert f"{sum(entry.tokens for entry in entries):,}" in page.sections["dataset"]
    stages = manifest.report["summary"]["stages"]
    assert [stage["stage"] for stage in stages] == [
        "read",
        "clean",
        "language",
        "boilerplate",
        "dedup",
        "decontaminate",
    ]
    assert f"{stages[-1]['documents']} documents" in page.sections["flow"]


def test_select_shows_groups_before_and_after(card: str, dataset: Path) -> None:
    counts = next(
        row["counts"]
        for row in Dataset.open(dataset).manifest.report["summary"]["reductions"]
        if row["name"] == "cutoffs"
    )
    mixture = re.split(r"\s+", Page(card).sections["mixture"])
    assert counts["de: documents after"] > counts["de: documents"]
    for lang in ("de", "en"):
        place = mixture.index(lang)
        assert mixture[place + 1 : place + 3] == [str(counts[f"{lang}: documents{after}"]) for after in ("", " after")]


def test_a_text_that_looks_like_markup_is_text(card: str, attack: str) -> None:
    page = Page(card)
    tags = {tag for tag, _ in page.elements}
    assert not tags & {"script", "img", "iframe", "object", "embed", "link", "base", "form", "image", "use"}
    assert attack in page.sections["documents"]
    assert html.escape(attack) in card.replace("&#39;", "&#x27;").replace("&#34;", "&quot;")
    handlers = [name for _, attributes in page.elements for name in attributes if name.startswith("on")]
    assert handlers == []


def test_nothing_is_loaded_from_anywhere(card: str) -> None:
    page = Page(card)
    attributes = [(name, value or "") for _, found in page.elements for name, value in found.items()]
    assert [value for name, value in attributes if name in ("src", "srcset", "poster", "action", "data")] == []
    assert [value for name, value in attributes if "//" in value and name != "title"] == []
    [style] = re.findall(r"<style>(.*?)</style>", card, re.DOTALL)
    assert "url(" not in style
    assert "@import" not in style
    policy = next(found["content"] for tag, found in page.elements if tag == "meta" and "http-equiv" in found)
    assert policy is not None
    assert policy.startswith("default-src 'none'")


def test_equal_corpora_give_equal_cards(
    dataset: Path, every_stage: DataConfig, make_inline: Any, tmp_path: Path
) -> None:
    make_inline(lambda tasks: list(reversed(tasks))).build(
        every_stage.model_copy(update={"workers": 3}), tmp_path / "again"
    )
    assert (tmp_path / "again/card.html").read_bytes() == (dataset / "card.html").read_bytes()


def test_the_audit_takes_the_card_and_its_content_does_not_count(
    dataset: Path, every_stage: DataConfig, make_inline: Any
) -> None:
    assert audit_dataset(dataset).ok
    fingerprint = Dataset.open(dataset).fingerprint
    card = (dataset / "card.html").read_bytes()
    (dataset / "card.html").unlink()
    assert audit_dataset(dataset).ok
    report = make_inline().build(every_stage, dataset)
    assert not report.did_nothing
    assert report.fingerprint == fingerprint
    assert (dataset / "card.html").read_bytes() == card


def test_a_preparation_without_stages_has_a_card(
    corpus: Path, small_config: Callable[..., DataConfig], make_inline: Any, tmp_path: Path
) -> None:
    make_inline().build(small_config(corpus), tmp_path / "out")
    page = Page((tmp_path / "out/card.html").read_text(encoding="utf-8"))
    assert sorted(page.sections) == sorted(SECTIONS)
    assert "No document says its language" in page.sections["languages"]
    assert "logging/__init__.py" in page.sections["sources"]


@pytest.mark.parametrize("texts", [["one document only, nothing is held out"], ["a", "b" * 3000]])
def test_the_smallest_corpora_have_a_card(
    texts: list[str], small_config: Callable[..., DataConfig], make_inline: Any, tmp_path: Path
) -> None:
    for number, text in enumerate(texts):
        (tmp_path / f"{number}.txt").write_text(text)
    make_inline().build(
        small_config(tmp_path, tokenizer={"kind": "byte"}, columns={"sents": "rules"}), tmp_path / "out"
    )
    page = Page((tmp_path / "out/card.html").read_text(encoding="utf-8"))
    assert sorted(page.sections) == sorted((*SECTIONS, "columns"))


@needs_chromium
def test_the_card_reads_well_light_and_dark_wide_and_narrow(dataset: Path) -> None:
    with open_browser() as browser:
        for width, scheme in ((1280, "light"), (1280, "dark"), (390, "light"), (390, "dark")):
            with browser.see(dataset / "card.html", width, scheme) as seen:
                assert seen.problems() == []
                assert "What each stage dropped" in seen.text("#flow")
