"""The tokenize benchmark as it is called: one JSON line with what the design promises, and a kept copy."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import corpus, frame

ROOT = Path(__file__).parents[2]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks.tokenize", "--rounds", "1", "--megabytes", "0.1", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)


@pytest.fixture
def natural(tmp_path: Path) -> Path:
    folder = tmp_path / "text"
    folder.mkdir()
    for number in range(3):
        words = [f"{stem}{ending}" for stem in ("walk", "über", "слов", "talk") for ending in ("ing", "en", "ами", "s")]
        (folder / f"{number}.txt").write_text(" ".join(words * 150) + ".\n", encoding="utf-8")
    return folder


def test_one_json_line_with_figures_ratios_and_goals(natural: Path, tmp_path: Path) -> None:
    done = run("--json", "--vocab-size", "600", "--text", str(natural), "--out", str(tmp_path / "results"))
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()
    outcome = json.loads(line)
    assert list(outcome) == ["benchmark", "hardware", "figures", "ratios", "goals"]
    assert outcome["benchmark"] == "tokenize"
    assert outcome["ratios"]["identical"] == 1.0
    assert {"vs_sentencepiece", "vs_hf_tokenizers"} <= outcome["ratios"].keys()
    assert [goal["name"] for goal in outcome["goals"]] == ["vs_sentencepiece", "identical"]
    assert outcome["figures"]["texts"]["own"]["documents"] == 3
    assert outcome["figures"]["fast_encoder"] == "in use"
    (kept,) = (tmp_path / "results").iterdir()
    assert kept.name == f"{outcome['hardware']['date'][:10]}-tokenize.json"
    assert json.loads(kept.read_text("utf-8")) == outcome


def test_rounds_begin_with_another_contender_each_and_start_it_afresh() -> None:
    calls: list[str] = []

    def contender(name: str):
        def begin():
            calls.append(f"begin {name}")
            return lambda part: calls.append(f"{name} {part}")

        return begin

    seconds = frame.interleaved({"a": contender("a"), "b": contender("b")}, ["x", "y"], rounds=2)
    first, second = ["begin a", "a x", "a y"], ["begin b", "b x", "b y"]
    assert calls == [*first, *second, *second, *first]
    assert {part: {name: len(times) for name, times in group.items()} for part, group in seconds.items()} == {
        "x": {"a": 2, "b": 2},
        "y": {"a": 2, "b": 2},
    }


def test_a_goal_is_met_from_its_figure_on() -> None:
    outcome = frame.Outcome("x", {}, {"fast": 2.9, "same": 1.0}, {"fast": 3.0, "same": 1.0}).as_json()
    assert [(goal["name"], goal["reached"], goal["met"]) for goal in outcome["goals"]] == [
        ("fast", 2.9, False),
        ("same", 1.0, True),
    ]


def test_markup_goes_and_text_stays() -> None:
    page = '.TH LS 1\n.SH NAME\nls \\- list \\fBdirectory\\fR contents\n.\\" comment\nIt\\(aqs here.\n'
    assert corpus.without_roff(page).split() == ["ls", "-", "list", "directory", "contents", "It's", "here."]
    page = "<html><head><style>p {}</style></head><body><p>a &lt; b<!-- no --></p>\n\n\n<b>c</b></body></html>"
    assert corpus.without_tags(page) == "a < b\n\nc"
