"""Every rule of C4, just kept to and just broken."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_prep.stages.rules.c4 import C4, edit_lines, judge_page

GOOD = "This line has more than five words."


@pytest.mark.parametrize(
    "line",
    [
        "It ends with a full stop.",
        "Does it end with a question?",
        "It ends with a loud mark!",
        'It ends with a quotation "mark"',
        "  It is indented and it ends. ",
        "你好，世界，今天天气很好。",
        "هل هذه جملة طويلة بما يكفي؟",
    ],
)
def test_lines_with_an_end_stay_as_they_are(line: str) -> None:
    assert edit_lines(C4(), line) == line


@pytest.mark.parametrize(
    ("line", "rule"),
    [
        ("It ends without a full stop", "terminal_punctuation"),
        ("It ends with an open end...", "terminal_punctuation"),
        ("It ends with a comma, too,", "terminal_punctuation"),
        ("Four words are few.", "min_words_per_line"),
        ("Please do switch on JavaScript now.", "javascript"),
        ("Read our Privacy Policy before you go.", "policies"),
        ("These are all the Terms of Use.", "policies"),
        ("This page uses cookies for you only.", "policies"),
    ],
)
def test_a_line_that_breaks_a_rule_is_taken_out_unless_the_rule_is_off(line: str, rule: str) -> None:
    text = f"{GOOD}\n{line}\n{GOOD}"
    assert edit_lines(C4(), text) == f"{GOOD}\n{GOOD}"
    off = {rule: None if rule == "min_words_per_line" else False}
    assert edit_lines(C4(**off), text) == text  # type: ignore[arg-type]


def test_five_words_are_enough() -> None:
    assert edit_lines(C4(), "Just five words are enough.") == "Just five words are enough."


def test_citation_marks_are_taken_out_of_lines() -> None:
    text = "Stone is hard.[1] So it was said.[citation needed] Here too[edit].[]"
    assert edit_lines(C4(), text) == "Stone is hard. So it was said. Here too."
    assert edit_lines(C4(citations=False), text + ".") == text + "."
    assert edit_lines(C4(), "An index a[i] and [12a] stay.") == "An index a[i] and [12a] stay."


@pytest.mark.parametrize(
    ("word", "rule", "expected"),
    [("{", "curly_bracket", "c4_curly_bracket"), ("Lorem Ipsum", "lorem_ipsum", "c4_lorem_ipsum")],
)
def test_a_page_with_what_no_page_should_have_is_found_unless_the_rule_is_off(
    word: str, rule: str, expected: str
) -> None:
    text = f"{GOOD} {word} is here. {GOOD}"
    finding = judge_page(C4(), text)
    assert finding is not None
    assert finding.reason == expected
    assert judge_page(C4(**{rule: False}), text) is None  # type: ignore[arg-type]
    assert judge_page(C4(), f"{GOOD} }} Lorem is here, ipsum is not. {GOOD}") is None


def test_three_sentences_are_a_page_and_two_are_none() -> None:
    assert judge_page(C4(), 'He said "one." She asked: two? Three!') is None
    finding = judge_page(C4(), "It costs 3.50 at example.com. That is two.")
    assert finding is not None
    assert finding == ("c4_sentences", "sentences: 2, less than 3")
    assert judge_page(C4(), "你好。世界！是吗？") is None
    assert judge_page(C4(min_sentences=None), "none") is None


def test_bad_words_are_found_as_whole_words() -> None:
    rules = C4(bad_words=("Darn", "坏话"), min_sentences=None)
    assert judge_page(rules, "It is DARN cold") == ("c4_bad_words", "darn")
    assert judge_page(rules, "这是坏话吗") == ("c4_bad_words", "坏话")
    assert judge_page(rules, "She mends and darns") is None


@given(st.lists(st.sampled_from([GOOD, "short.", "[", "]", "1", "[edit]", "{", "\n", " ", "x javascript y z w v."])))
def test_taking_lines_out_twice_changes_nothing_more(parts: list[str]) -> None:
    edited = edit_lines(C4(), "".join(parts))
    assert edit_lines(C4(), edited) == edited


@given(st.text(st.characters()))
def test_any_text_is_judged(text: str) -> None:
    judge_page(C4(bad_words=("x", "好")), edit_lines(C4(), text))
