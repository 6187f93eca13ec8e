"""The stage `boilerplate`, through observers, the reduction and the step, cut into units and parts in every way."""

import itertools
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_prep.sources.document import Document
from data_prep.stages import boilerplate
from data_prep.stages.boilerplate import REDUCTIONS, Config, observer, step
from data_prep.stages.stage import Decision, Dropped, Part

FOOTER = "Copyright by the authors, all rights reserved"


def documents_of(texts: Sequence[str]) -> list[Document]:
    return [Document(str(place), text, "corpus.txt", "en", None, {"k": place}) for place, text in enumerate(texts)]


def run(config: Config, texts: Sequence[str], cuts: Sequence[int] = (), parts: int = 1) -> list[Document | Dropped]:
    documents, [reduction] = documents_of(texts), REDUCTIONS
    bounds = [0, *sorted(cuts), len(documents)]
    units = [documents[a:b] for a, b in itertools.pairwise(bounds)]
    with TemporaryDirectory() as name:
        observed = [folder(Path(name) / f"unit{number}") for number in range(len(units))]
        for unit, out in zip(units, observed, strict=True):
            watching = observer(config)
            for document in unit:
                watching.add(document)
            assert watching.save(out)["documents"] == len(unit)
        outputs = [folder(Path(name) / f"part{number}") for number in range(parts)]
        for number in reversed(range(parts)):
            reduction.run(config, Part(observed, observed, outputs[number], number, parts))
        steps = [step(config, Decision(outputs, number)) for number in range(len(units))]
        return [result for unit, take in zip(units, steps, strict=True) for result in take(unit)]


def folder(path: Path) -> Path:
    path.mkdir()
    return path


def texts_of(results: Sequence[Document | Dropped]) -> list[str | None]:
    return [result.text if isinstance(result, Document) else None for result in results]


def test_a_line_of_more_documents_than_allowed_is_taken_out_of_all() -> None:
    texts = [f"Document {number} has a line of its own\n{FOOTER}\nThe end {number}" for number in range(3)]
    expected = [f"Document {number} has a line of its own\nThe end {number}" for number in range(3)]
    assert texts_of(run(Config(max_documents=2), texts)) == expected
    assert run(Config(max_documents=3), texts) == documents_of(texts)


def test_a_line_counts_once_per_document() -> None:
    texts = [f"{FOOTER}\n" * 5, f"{FOOTER}\nmore"]
    assert texts_of(run(Config(max_documents=2), texts)) == texts


def test_a_fraction_allows_more_documents_than_the_number() -> None:
    texts = [FOOTER + f"\ntext {number}" if number < 5 else f"text {number}" for number in range(10)]
    assert texts_of(run(Config(max_documents=1, max_fraction=0.5), texts)) == texts
    assert texts_of(run(Config(max_documents=1, max_fraction=0.49), texts)) == [
        f"text {number}" for number in range(10)
    ]


def test_short_lines_stay_and_white_space_around_a_line_does_not_matter() -> None:
    texts = [f"exactly nineteen ch\n{' ' * number}exactly twenty chars\t\nend {number}" for number in range(5)]
    assert texts_of(run(Config(max_documents=1), texts)) == [
        f"exactly nineteen ch\nend {number}" for number in range(5)
    ]


def test_a_document_of_nothing_else_is_dropped_as_it_was() -> None:
    texts = [f"{FOOTER}\n\n{FOOTER}\n", f"{FOOTER}\nmore", FOOTER]
    first, second, third = run(Config(max_documents=1), texts)
    documents = documents_of(texts)
    assert first == Dropped(documents[0], "boilerplate", "every line is shared by many documents")
    assert second == Document("1", "more", "corpus.txt", "en", None, {"k": 1})
    assert isinstance(third, Dropped)


def test_paragraphs_go_as_a_whole() -> None:
    licence = "Licensed under the terms\nof the licence of all of them"
    texts = [f"{licence}\n \n\ncode {number}\n\nThe same {'x' * 20}\nother {number}\n" for number in range(3)]
    expected = [f"code {number}\n\nThe same {'x' * 20}\nother {number}\n" for number in range(3)]
    assert texts_of(run(Config(unit="paragraph", max_documents=1), texts)) == expected


def test_a_common_line_at_the_end_leaves_no_other_trace() -> None:
    assert texts_of(run(Config(max_documents=1), [f"a\n\n{FOOTER}", f"b\n{FOOTER}\n"])) == ["a\n\n", "b\n"]


LINES = st.sampled_from([f"{word} is a line that is long enough" for word in "abcdef"] + ["short", ""])
TEXTS = st.lists(st.lists(LINES, min_size=1, max_size=5).map("\n".join), min_size=1, max_size=12)


@given(TEXTS, st.integers(1, 4), st.lists(st.integers(0, 12), max_size=3), st.integers(1, 5), st.integers(1, 8))
@settings(max_examples=25, deadline=None)
def test_units_parts_and_slices_do_not_matter(
    texts: list[str], allowed: int, cuts: list[int], parts: int, limit: int
) -> None:
    counts = Counter(line for text in texts for line in set(text.split("\n")))
    kept = ["\n".join(line for line in text.split("\n") if len(line) < 20 or counts[line] <= allowed) for text in texts]
    config = Config(max_documents=allowed)
    whole = run(config, texts)
    expected = [
        text.rstrip("\n") if text.strip() or text == before else None for text, before in zip(kept, texts, strict=True)
    ]
    # a common line at the end of a text leaves the break before it
    assert [text and text.rstrip("\n") for text in texts_of(whole)] == expected
    cuts = [min(cut, len(texts)) for cut in cuts]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(boilerplate, "_WAITING", limit)
        patch.setattr(boilerplate, "_SLICE", limit)
        assert run(config, texts, cuts, parts) == whole


def test_digests_at_the_ends_of_the_range_are_counted(tmp_path: Path) -> None:
    ends = np.array([0, 2**63 - 1, 2**63, 2**64 - 1], np.uint64)
    for number in range(2):
        out = folder(tmp_path / f"unit{number}")
        np.save(out / "digests.npy", ends)
        np.save(out / "counts.npy", np.ones(4, np.uint32))
        (out / "documents.json").write_text("1")
    found = []
    for number in range(2):
        observed, out = [tmp_path / "unit0", tmp_path / "unit1"], folder(tmp_path / f"part{number}")
        counts = REDUCTIONS[0].run(Config(max_documents=1), Part(observed, observed, out, number, 2))
        assert counts == {"chosen": 2, "allowed_documents": 1}
        found += np.load(out / "digests.npy").tolist()
    assert found == ends.tolist()


@given(st.lists(st.text(st.characters()), max_size=4))
@settings(max_examples=50, deadline=None)
def test_any_texts_pass(texts: list[str]) -> None:
    assert len(run(Config(max_documents=1, min_chars=1), texts)) == len(texts)
