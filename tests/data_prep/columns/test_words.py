"""Word boundaries: characters of every script, segmenters of other packages."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from data_prep.columns.characters import Texts
from data_prep.columns.words import word_starts
from data_prep.errors import InputError


def units(text: str, kind: str = "unicode") -> list[str]:
    places = np.flatnonzero(word_starts(Texts([text]), kind)).tolist()
    return [text[start:stop] for start, stop in zip(places, [*places[1:], len(text)], strict=True)]


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
