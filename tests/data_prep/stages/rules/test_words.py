"""What counts as a word."""

from hypothesis import given
from hypothesis import strategies as st

from data_prep.stages.rules.words import has_spaced_words, split_words


def test_words_are_parted_by_any_white_space() -> None:
    assert split_words("one two\tthree\n\u3000vier, fünf") == ["one", "two", "three", "vier,", "fünf"]


def test_every_character_of_a_script_without_spaces_is_a_word() -> None:
    assert split_words("我有2本书 ok") == ["我", "有", "2", "本", "书", "ok"]
    assert split_words("안녕 세상") == ["안녕", "세상"]


def test_scripts_without_spaces_are_told_from_those_with() -> None:
    assert has_spaced_words(split_words("plain words with 一 foreign character in it"))
    assert not has_spaced_words(split_words("人人生而自由，在尊严和权利上一律平等 (UN)"))


@given(st.text())
def test_words_hold_every_character_that_is_no_white_space(text: str) -> None:
    assert "".join(split_words(text)) == "".join(text.split())
