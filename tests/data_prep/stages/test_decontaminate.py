"""The stage `decontaminate`: documents that share words with evaluation files are dropped or marked."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from data_prep.sources.document import Document
from data_prep.stages.decontaminate import Config, inputs, step
from data_prep.stages.stage import Dropped

QUESTION = "What is the name of the river that flows through the old town of Bern?"  # 15 words
THIRTEEN = "the name of the river that flows through the old town of bern"


@pytest.fixture(scope="module")
def evaluation(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("evaluation")
    (root / "a.jsonl").write_text(json.dumps({"question": QUESTION, "answer": "Aare"}))
    (root / "b.txt").write_text(" ".join(f"word{number}" for number in range(20)))
    return root


def document(text: str) -> Document:
    return Document("a", text, "corpus.txt", "en", None, {"key": 1})


def test_thirteen_words_are_found_and_twelve_are_not(evaluation: Path) -> None:
    contaminated = document(f"Guess: *The NAME* of the river, that flows\nthrough the old town of Bern -- {'x ' * 9}")
    clean = document("name of the river that flows through the old town of Bern")
    results = list(step(Config(paths=(f"{evaluation}/*",)))([clean, contaminated, clean]))
    detail = f'{evaluation}/a.jsonl: "{THIRTEEN}" (1 in all)'
    assert results == [clean, Dropped(contaminated, "contaminated", detail), clean]


def test_reported_documents_are_passed_on_with_what_they_share(evaluation: Path) -> None:
    [result] = step(Config(paths=(f"{evaluation}/*",), action="report"))([document(QUESTION)])
    detail = f'{evaluation}/a.jsonl: "what is {THIRTEEN.removesuffix(" of bern")}" (3 in all)'
    assert result == Document("a", QUESTION, "corpus.txt", "en", None, {"key": 1, "contaminated": detail})


@pytest.mark.parametrize(("min_hits", "dropped"), [(3, True), (4, False)])
def test_as_many_shared_runs_as_asked_for_are_needed(evaluation: Path, min_hits: int, dropped: bool) -> None:
    [result] = step(Config(paths=(f"{evaluation}/*",), min_hits=min_hits))([document(QUESTION)])
    assert isinstance(result, Dropped) == dropped


def test_words_of_different_texts_make_no_run(evaluation: Path) -> None:
    text = document(f"{' '.join(QUESTION.split()[-8:])} Aare word0 word1 word2 word3 word4")
    assert list(step(Config(paths=(f"{evaluation}/*",)))([text])) == [text]


def test_inputs_are_the_files(evaluation: Path) -> None:
    assert inputs(Config(paths=(f"{evaluation}/*",))) == [f"{evaluation}/a.jsonl", f"{evaluation}/b.txt"]


def test_paths_are_needed() -> None:
    with pytest.raises(ValidationError, match="paths"):
        Config.model_validate({"paths": []})


def test_documents_are_taken_one_by_one(evaluation: Path) -> None:
    def source() -> Iterator[Document]:
        yield document("one")
        raise AssertionError("the second document was asked for")

    assert next(step(Config(paths=(f"{evaluation}/*",)))(source())) == document("one")


@given(st.text(st.characters()))
def test_any_text_is_compared(evaluation: Path, text: str) -> None:
    assert list(step(Config(paths=(f"{evaluation}/*",)))([document(text)])) == [document(text)]
