"""Sentence boundaries of prose, wrapped text, lists and code."""

from typing import Literal

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from data_prep.columns.characters import Characters, Texts
from data_prep.columns.sents import _after_abbreviation, _goes_on, sentence_places


def sentences(text: str, kind: Literal["rules", "unicode"]) -> list[str]:
    places = sentence_places(Texts([text]), kind).tolist()
    return [text[start:stop] for start, stop in zip(places, [*places[1:], len(text)], strict=True)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Dr. Who met J. Doe. They left.", ["Dr. Who met J. Doe. ", "They left."]),
        ("It cost 3.5 francs, e.g. here. So did I. Then?", ["It cost 3.5 francs, e.g. here. ", "So did I. ", "Then?"]),
        ("He said “No.” She left!", ["He said “No.” ", "She left!"]),
        ("a line that\nis wrapped. Next\nline", ["a line that\nis wrapped. ", "Next\nline"]),
        ("wrapped\r\nhere. Next", ["wrapped\r\nhere. ", "Next"]),
        ("A title\n\nThe text", ["A title\n", "\n", "The text"]),
        ("- one\n- two\n    three", ["- one\n", "- two\n", "    three"]),
        ("Siehe Abb. 3 von Hr. Maier. Gut.", ["Siehe Abb. 3 von Hr. Maier. ", "Gut."]),
        ("私は学生です。今日は！行く", ["私は学生です。", "今日は！", "行く"]),
        ("Вот раз. Вот и два? Да.", ["Вот раз. ", "Вот и два? ", "Да."]),
    ],
)
def test_rules_find_the_sentences_of_running_text(text: str, expected: list[str]) -> None:
    assert sentences(text, "rules") == expected


def test_unicode_sentences_end_at_every_line() -> None:
    assert sentences("Dr. Who\nis here.", "unicode") == ["Dr. ", "Who\n", "is here."]


@settings(deadline=None, max_examples=200)
@given(st.text(st.one_of(st.sampled_from("aA1.!?\n\r \t\u2029。😀\u0301"), st.characters(exclude_categories=["Cs"]))))
def test_any_text_is_cut_into_sentences_that_begin_at_its_start(text: str) -> None:
    for kind in ("rules", "unicode"):
        places = sentence_places(Texts([text]), kind).tolist()  # type: ignore[arg-type]
        assert places[:1] == [0][: len(text)]
        assert places == sorted(set(places))
        assert max(places, default=-1) < len(text)


@settings(deadline=None, max_examples=300)
@given(st.text(st.one_of(st.sampled_from("ADrIMs_1. ..\n-éЖ"), st.sampled_from("abpp")), max_size=40), st.booleans())
@example("Dr. J. I. Messrs. xMessrs. _Dr. 1. é. ул. .", True)
def test_abbreviations_are_found_with_numbers_as_they_are_one_by_one(text: str, ascii_only: bool) -> None:
    text = text.encode("ascii", "ignore").decode() if ascii_only else text
    places = np.arange(len(text))
    expected = [place >= 3 and text[place - 2] == "." and _goes_on(text, place) for place in places.tolist()]
    assert _after_abbreviation(Characters.of(text), places).tolist() == expected
