"""The stage `clean`: a stream of documents in, the same documents repaired or dropped out."""

from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from data_prep.sources.document import Document
from data_prep.stages.clean import Config, clean_text, step
from data_prep.stages.stage import Dropped

ALL_RULES = ("gopher_quality", "gopher_repetition", "c4")


def document(text: str, lang: str | None = None) -> Document:
    return Document("a", text, "corpus.txt", lang, "p", {"key": 1})


def test_documents_are_repaired_in_order_and_keep_everything_else() -> None:
    texts = ["schÃ¶n\r\n", "fine", "\x00", "a\u0308"]
    documents = [Document(str(place), text, "s", "de", "p", {"k": place}) for place, text in enumerate(texts)]
    expected = [
        Document("0", "schön\n", "s", "de", "p", {"k": 0}),
        documents[1],
        Dropped(documents[2], "short", "0 characters, less than 1"),
        Document("3", "ä", "s", "de", "p", {"k": 3}),
    ]
    assert list(step(Config())(documents)) == expected


def test_documents_are_taken_one_by_one() -> None:
    taken = []

    def source() -> Iterator[Document]:
        for number in range(3):
            taken.append(number)
            yield document(f"text {number}")

    cleaned = step(Config())(source())
    assert taken == []
    next(cleaned)
    assert taken == [0]


@pytest.mark.parametrize(
    ("text", "reason"), [("1234", "short"), (" 12345 \n", None), ("1234567", None), ("12345678", "long")]
)
def test_lengths_at_the_limits_and_beyond_them(text: str, reason: str | None) -> None:
    [result] = step(Config(min_chars=5, max_chars=7))([document(text)])
    assert (result.reason if isinstance(result, Dropped) else None) == reason


def test_families_of_rules_apply_only_if_named() -> None:
    code = document("int main() {\n\treturn 0;\n}\n")
    assert list(step(Config())([code])) == [code]
    repeated = document("It is the same line.\n" * 99)
    reasons = {
        family: [
            result.reason for result in step(Config(rules=(family,)))([code, repeated]) if isinstance(result, Dropped)
        ]
        for family in ALL_RULES
    }
    assert reasons == {
        "gopher_quality": ["gopher_short"],
        "gopher_repetition": ["gopher_duplicate_lines"],
        "c4": ["short"],  # no line of the code ends as a sentence does
    }


def test_the_language_of_a_document_goes_before_that_of_the_config() -> None:
    config = Config(rules=("gopher_quality",), lang="en")
    text = " ".join(["stone"] * 60)
    german, unnamed = step(config)([document(text, "de"), document(text)])
    assert isinstance(german, Document)
    assert isinstance(unnamed, Dropped)
    assert unnamed.reason == "gopher_stop_words"


def test_thresholds_of_a_family_that_is_not_applied_are_refused() -> None:
    with pytest.raises(ValidationError, match="c4 has settings but is not in rules: add it there"):
        Config.model_validate({"kind": "clean", "rules": ["gopher_quality"], "c4": {"citations": False}})


def test_thresholds_replace_the_papers() -> None:
    config = Config.model_validate({"rules": ["gopher_quality"], "gopher_quality": {"min_words": 2}})
    assert isinstance(next(step(config)([document("two words")])), Document)


def test_lines_are_taken_out_before_the_length_is_judged() -> None:
    [result] = step(Config(rules=("c4",)))([document("Home\nLogin\nAbout us")])
    assert isinstance(result, Dropped)
    assert (result.reason, result.document.text) == ("short", "Home\nLogin\nAbout us")


WORDS = [
    "a[1]\u0308",
    "Ã",
    "¶",
    "\r",
    "\n",
    "This is quite a good line.",
    "[",
    "1",
    "]",
    " ",
    "Ü",
    "\x00",
    "é»",
    "1.",
    "{",
]


@given(st.one_of(st.text(st.characters(), max_size=60), st.lists(st.sampled_from(WORDS)).map("".join)), st.booleans())
@settings(max_examples=800, deadline=None)
def test_cleaning_what_was_cleaned_changes_nothing(text: str, rules: bool) -> None:
    config = (
        Config(rules=ALL_RULES if rules else (), gopher_quality={"min_words": 1} if rules else {})
        if rules
        else Config()
    )
    cleaned = clean_text(config, text)
    assert clean_text(config, cleaned) == cleaned
    [result] = step(config)([document(text)])
    if isinstance(result, Document):
        assert list(step(config)([result])) == [result]
