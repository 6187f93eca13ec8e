"""How the card writes texts, numbers and configs; and which documents it shows."""

import io
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from data_prep.card import sample
from data_prep.card.asked import asked
from data_prep.config import DataConfig
from data_prep.documents import Documents, DocumentWriter
from data_prep.pages import words
from data_prep.pages.yaml_text import as_yaml
from data_prep.sources.document import Document

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(min_size=1, max_size=8), inner, max_size=3),
    max_leaves=12,
)


@given(st.dictionaries(st.text(min_size=1, max_size=8), PLAIN, max_size=4))
def test_a_config_is_read_back_as_it_was(values: dict[str, Any]) -> None:
    values = json.loads(json.dumps(values).replace("\\ud", "d"))  # no lone surrogates: a file cannot hold them
    read = YAML(typ="safe", pure=True).load(io.StringIO(as_yaml(values)))
    assert (read or {}) == values


def test_what_is_asked_for_leaves_defaults_out_and_makes_the_same_config() -> None:
    stages = ["dedup", {"kind": "clean", "min_chars": 20}]
    config = DataConfig.model_validate({"paths": ["a"], "stages": stages, "heldout_fraction": 0.02, "workers": 7})
    assert asked(config) == {"paths": ["a"], "stages": stages}
    assert as_yaml(asked(config)).splitlines()[1:] == ["stages:", "  - dedup", "  - kind: clean", "    min_chars: 20"]
    assert DataConfig.model_validate(asked(config)).content() == config.content()


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0 bytes"), (1, "1 byte"), (999, "999 bytes"), (1500, "1.5 kB"), (12_118_641, "12.1 MB"), (4e12, "4.0 TB")],
)
def test_sizes_are_short(number: int, text: str) -> None:
    assert words.size(number) == text


@pytest.mark.parametrize(
    ("part", "text"), [(None, "-"), (0, "0%"), (0.0001, "< 0.1%"), (0.0123, "1.2%"), (1, "100.0%")]
)
def test_small_shares_are_not_nothing(part: float | None, text: str) -> None:
    assert words.percent(part) == text


def test_controls_become_visible_and_cannot_turn_the_page_around() -> None:
    assert words.shown("a\tb\n\x00\x1b[31m\x7f\u202eevil\u2066\ufeff\ud800") == (
        "a\tb\n\u2400\u241b[31m⟨U+007F⟩⟨U+202E⟩evil⟨U+2066⟩⟨U+FEFF⟩⟨U+D800⟩"
    )


def documents_file(path: Path, documents: list[Document]) -> Path:
    path.parent.mkdir()
    with DocumentWriter(path) as writer:
        for document in documents:
            writer.add(document)
        writer.close()
    return path


def test_a_sample_reads_the_beginnings_of_evenly_spread_units(tmp_path: Path) -> None:
    files = [
        documents_file(tmp_path / str(n) / "d.zst", [Document(f"{n}/{k}", "x" * 50_000, "s") for k in range(9)])
        for n in range(100)
    ]
    found = sample.sample_documents([Documents(file) for file in files])
    units = [document.id.partition("/")[0] for document in found]
    assert len(set(units)) == sample.MOST_UNITS
    assert units == sorted(units, key=int)
    assert all(units.count(unit) == 3 for unit in units)  # then the unit has given enough
    assert {(len(document.text), document.characters) for document in found} == {(sample.TEXT_CHARS, 50_000)}


def test_examples_are_of_every_language_and_do_not_depend_on_the_order() -> None:
    found = [
        sample.Sampled(f"{lang}{n}", "s", lang, None, "", 0)
        for lang, count in (("de", 9), ("en", 90), ("fr", 1))
        for n in range(count)
    ]
    chosen = sample.examples(found, 6)
    assert [document.lang for document in chosen] == ["de"] * 3 + ["en"] * 2 + ["fr"]
    assert sample.examples(list(reversed(found)), 6) == chosen
