"""Word boundaries: the fast path is ICU's answer, characters of every script, segmenters of other packages."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from data_prep.columns import words
from data_prep.columns.characters import Characters, Texts
from data_prep.columns.icu import icu_words
from data_prep.columns.words import word_starts
from data_prep.errors import InputError

# Characters that rules of UAX #29 are about, and any others.
TELLING = st.sampled_from("aZéßאاщ0٣_‿ :.,;'’\"·-–!?\r\n\t\u00a0\u00ad\u200b\u0301\u200d\u2028字かカー泰ก한😀🇩🇪")
TEXTS = st.text(st.one_of(TELLING, st.characters(exclude_categories=["Cs"])), max_size=80)
SIMPLE = st.text(
    st.one_of(st.sampled_from("aé0_ :.,;'’-\r\n\t\u00a0"), st.characters(max_codepoint=0x27FF)), max_size=80
)


def units(text: str, kind: str = "unicode") -> list[str]:
    places = np.flatnonzero(word_starts(Texts([text]), kind)).tolist()
    return [text[start:stop] for start, stop in zip(places, [*places[1:], len(text)], strict=True)]


@settings(deadline=None, max_examples=400)
@given(st.one_of(TEXTS, SIMPLE))
@example("a\u0600b")
@example("1.2,3 a.b,c a'b'' x:y _:_ 1_:2")
def test_the_fast_path_says_what_icu_says(text: str) -> None:
    assert word_starts(Texts([text]), "unicode").tolist() == icu_words(text).tolist()


def test_latin_greek_cyrillic_and_code_take_the_fast_path() -> None:
    for text in ("def f(x):\n    return x['a'] + 1.5", "Straße – «été» №7", "Ελληνικά", "Это по-русски…"):
        assert words._fast_starts(Characters.of(text).codes) is not None
    for text in ("日本", "e\u0301", "ไทย", "👍"):
        assert words._fast_starts(Characters.of(text).codes) is None


@settings(deadline=None, max_examples=150)
@given(st.text(st.one_of(TELLING, st.just("\n")), max_size=60))
def test_blocks_of_lines_say_what_the_whole_text_says(text: str) -> None:
    whole = icu_words(text).tolist()
    blocks, words._BLOCK_CHARS = words._BLOCK_CHARS, 3
    try:
        assert word_starts(Texts([text]), "unicode").tolist() == whole
    finally:
        words._BLOCK_CHARS = blocks


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Don't pay 3.50 now.", ["Don't", " ", "pay", " ", "3.50", " ", "now", "."]),
        ("a  b\r\nc", ["a", "  ", "b", "\r\n", "c"]),
        ("他来到了北京大学。", ["他", "来到", "了", "北京", "大学", "。"]),
        ("私は東京大学の学生です", ["私", "は", "東京", "大学", "の", "学生", "です"]),
        ("ภาษาไทยง่าย and English", ["ภาษา", "ไทย", "ง่าย", " ", "and", " ", "English"]),
    ],
)
def test_words_of_many_scripts_need_no_setting(text: str, expected: list[str]) -> None:
    assert units(text) == expected


def test_whitespace_words_are_what_stands_between_white_space() -> None:
    assert units(" don't  stop-\u3000now\n", "whitespace") == [" ", "don't", "  ", "stop-", "\u3000", "now", "\n"]


def test_an_unknown_segmenter_is_a_wrong_input_that_names_the_known_ones() -> None:
    with pytest.raises(InputError, match=r"data.columns.words: no segmenter 'martian'; known: whitespace, unicode"):
        word_starts(Texts(["a"]), "martian")


def test_an_installed_package_can_bring_a_segmenter(tmp_path: Path) -> None:
    (tmp_path / "pairs.py").write_text("def cut(text):\n    return [text[i : i + 2] for i in range(0, len(text), 2)]\n")
    (tmp_path / "broken.py").write_text("def cut(text):\n    return text.split()\n")
    info = tmp_path / "pairs-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: pairs\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[spanwright.words]\npairs = pairs:cut\nbroken = broken:cut\n")
    code = """
from data_prep.columns.characters import Texts
from data_prep.columns.words import word_starts
print(word_starts(Texts(["abcde"]), "pairs").tolist(), word_starts(Texts([""]), "pairs").tolist())
try:
    word_starts(Texts(["a b"]), "broken")
except Exception as error:
    print(error)
"""
    root = Path(__file__).parents[3]
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": f"{root}:{tmp_path}"},
    )
    first, second = done.stdout.splitlines()
    assert first == "[1, 0, 1, 0, 1] []"
    assert second == "data.columns.words: the segmenter 'broken' changed the text: its units do not join to it"
