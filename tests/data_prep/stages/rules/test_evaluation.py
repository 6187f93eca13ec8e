"""Evaluation files and what documents share with them, compared with plain code."""

import json
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_prep.errors import InputError
from data_prep.stages.rules.evaluation import EvaluationTexts, find_files, normal_words, read_texts


def test_words_are_compared_without_case_and_punctuation() -> None:
    assert normal_words("It's GREAT — said «Ada» (1843)!") == ["it", "s", "great", "said", "ada", "1843"]
    assert normal_words("It's GREAT, said Ada!") == ["it", "s", "great", "said", "ada"]
    assert normal_words("你好，World。") == ["你", "好", "world"]
    assert normal_words("one👍two 𐄀three 𝐀") == ["one", "two", "three", "𝐀"]


@given(st.text(st.characters(), max_size=20))
def test_no_punctuation_or_symbol_is_left_and_nothing_else_is_lost(text: str) -> None:
    kept = "".join(" " if unicodedata.category(mark)[0] in "PS" else mark for mark in text)
    assert "".join(normal_words(text)) == "".join(kept.lower().split())


def test_every_string_of_a_json_line_is_a_text(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    file.write_text('\ufeff{"q": "one", "choices": ["two", {"x": "three"}], "n": 4}\n\n["five"]\n"six\u2028"\n')
    assert list(read_texts(str(file))) == ["one", "two", "three", "five", "six\u2028"]
    other = tmp_path / "a.txt"
    other.write_text("one\ntwo")
    assert list(read_texts(str(other))) == ["one\ntwo"]


def test_a_broken_line_is_named(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    file.write_text('{"q": "one"}\n{"q": \n')
    with pytest.raises(InputError, match=rf"{file}:2: not valid JSON"):
        list(read_texts(str(file)))
    file.write_bytes(b"ab\xff")
    with pytest.raises(InputError, match=rf"{file}: byte 2: not valid UTF-8"):
        list(read_texts(str(file)))


def test_globs_are_resolved_sorted_and_each_file_is_named_once(tmp_path: Path) -> None:
    for name in ("b.jsonl", "a.jsonl", "c.txt"):
        (tmp_path / name).write_text('"x"')
    (tmp_path / "d.jsonl").mkdir()
    names = [f"{tmp_path}/{name}" for name in ("a.jsonl", "b.jsonl", "c.txt")]
    assert find_files([f"{tmp_path}/c.txt", f"{tmp_path}/*.jsonl", f"{tmp_path}/a*"]) == names
    with pytest.raises(InputError, match=r"decontaminate: paths: .*none\.jsonl: no such file"):
        find_files([f"{tmp_path}/none.jsonl"])


def test_files_without_a_text_that_is_long_enough_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_text("one two three")
    with pytest.raises(InputError, match=f"no text of {file} or others has 4 words: lower ngram"):
        EvaluationTexts([str(file)], 4)


WORDS = st.lists(st.sampled_from("abcd"), max_size=12).map(" ".join)


@given(st.lists(WORDS, max_size=4), st.lists(WORDS, max_size=4), WORDS, st.integers(1, 4))
@settings(max_examples=100, deadline=None)
def test_what_is_shared_is_what_plain_code_finds(
    tmp_path_factory: pytest.TempPathFactory, first: list[str], second: list[str], text: str, ngram: int
) -> None:
    root = tmp_path_factory.mktemp("texts")
    files = [root / "a.jsonl", root / "b.jsonl"]
    files[0].write_text(json.dumps(["a b c d a b c d", *first]))
    files[1].write_text(json.dumps(second))
    texts = EvaluationTexts([str(file) for file in files], ngram)

    def runs(text: str) -> list[tuple[str, ...]]:
        words = text.split()
        return [tuple(words[place : place + ngram]) for place in range(len(words) - ngram + 1)]

    known = [{run for each in group for run in runs(each)} for group in (["a b c d a b c d", *first], second)]
    hits = [run for run in runs(text) if run in known[0] | known[1]]
    shared = texts.find(text.upper() + "!")
    assert (shared.hits if shared else 0) == len(hits)
    if shared:
        assert shared.words == " ".join(hits[0])
        assert shared.file == str(files[0] if hits[0] in known[0] else files[1])
