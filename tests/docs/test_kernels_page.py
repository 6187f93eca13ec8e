"""docs/kernels.md is true: its pictures show what the patterns show, and its example of a new pattern runs."""

import itertools
import re
import xml.etree.ElementTree as ET
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import pytest
import torch

from docs.draw import CELL, LABELS, MARGIN, STYLES, PatternFigure, pattern_figures, pattern_svg

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "kernels.md").read_text(encoding="utf-8")
FIGURES = pattern_figures()
SEEN = ("a", "b")


def committed(name: str) -> str:
    return (DOCS / "images" / f"pattern-{name}.svg").read_text(encoding="utf-8")


def cells(svg: str) -> dict[tuple[int, int], str]:
    """How the square of every (query, key) is drawn, found by where it stands."""
    squares = [element for element in ET.fromstring(svg).iter() if "class" in element.attrib]
    edge = MARGIN + LABELS
    places = [((int(s.attrib["y"]) - edge) // CELL, (int(s.attrib["x"]) - edge) // CELL) for s in squares]
    assert len(set(places)) == len(places)
    return dict(zip(places, (square.attrib["class"] for square in squares), strict=True))


def shown(figure: PatternFigure) -> list[tuple[int, int]]:
    """The (query, key) that the pattern shows, sequence by sequence, ascending."""
    mask = torch.zeros(len(figure.queries), len(figure.keys), dtype=torch.bool)
    corners = zip(figure.cu_queries.tolist(), figure.cu_keys.tolist(), strict=True)
    for (q_start, k_start), (q_stop, k_stop) in itertools.pairwise(corners):
        rows, columns = slice(q_start, q_stop), slice(k_start, k_stop)
        mask[rows, columns] = figure.pattern.visible(rows, columns)
    return [(query, key) for query, key in mask.nonzero().tolist()]


@pytest.mark.parametrize("name", FIGURES)
def test_a_committed_picture_is_what_its_pattern_is_drawn_as_today(name: str) -> None:
    assert committed(name) == pattern_svg(FIGURES[name]), "draw them again: python docs/draw.py patterns"


@pytest.mark.parametrize("name", FIGURES)
def test_the_coloured_squares_are_the_keys_that_the_pattern_shows(name: str) -> None:
    figure = FIGURES[name]
    drawn = cells(committed(name))
    assert len(drawn) == len(figure.queries) * len(figure.keys)
    assert [place for place, style in drawn.items() if style in SEEN] == shown(figure)
    assert set(drawn.values()) <= set(STYLES)


def test_a_dashed_square_lies_in_interval_b_and_is_not_shown() -> None:
    pattern, drawn = FIGURES["retromae"].pattern, cells(committed("retromae"))
    assert pattern.b_start is not None
    assert pattern.b_stop is not None
    dashed = [place for place, style in drawn.items() if style == "fails"]
    assert {(row, row) for row in range(1, 8)} <= set(dashed)
    assert len(dashed) > 7
    for query, key in dashed:
        assert pattern.b_start[query] <= pattern.key_ranks[key] < pattern.b_stop[query]


def test_the_page_shows_every_picture_and_no_other_exists() -> None:
    names = set(re.findall(r"images/pattern-(\w+)\.svg", PAGE))
    assert names == set(FIGURES) == {path.stem.removeprefix("pattern-") for path in DOCS.glob("images/pattern-*.svg")}


def test_the_pages_example_of_a_new_pattern_prints_what_the_page_says() -> None:
    [(example, expected)] = re.findall(r"```python\n(.*?)```\s*prints\s*```\n(.*?)```", PAGE, re.DOTALL)
    names: dict = {}
    with redirect_stdout(StringIO()) as printed:
        exec(example, names)
    assert printed.getvalue() == expected


def test_the_pages_example_attends_as_the_dense_mask_does() -> None:
    [example] = re.findall(r"```python\n(.*?)```\s*prints", PAGE, re.DOTALL)
    names: dict = {}
    with redirect_stdout(StringIO()):
        exec(example, names)
    for rows in (slice(0, 5), slice(5, 7)):
        q, k, v = (names[name][rows].double() for name in "qkv")
        mask = names["pattern"].visible(rows, rows)
        scores = torch.einsum("qhd,khd->hqk", q, k).masked_fill(~mask, -torch.inf)
        expected = torch.einsum("hqk,khd->qhd", scores.softmax(-1), v)
        assert torch.allclose(names["out"][rows].double(), expected, atol=1e-5)
    assert not names["out"][7].any(), "the tail gives zeros"


def test_every_file_the_page_names_exists() -> None:
    root = DOCS.parent
    named = set(re.findall(r"`((?:pipeline|data_prep|tests|docs|benchmarks|launch)/[\w./-]+)`", PAGE))
    assert named
    assert not [name for name in named if not (root / name).exists()]
