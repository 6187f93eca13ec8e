"""What `spanwright evaluate` prints."""

import re

import pytest
from rich.console import Console
from rich.table import Table

from launch.evaluation import figures_tables
from pipeline.evaluation.figures import Figure, Figures

METRICS = ("accuracy", "accuracy_forward", "accuracy_backward", "f1", "precision", "recall")
FIGURES = Figures(
    {name: Figure(0.25, 0.125, 0.375) for name in METRICS},
    {"languages": {"de - en": {name: Figure(0.5) for name in METRICS}}, "beside": {"chance": {"f1": Figure(0.125)}}},
)


def printed(tables: list[Table], width: int) -> list[str]:
    console = Console(width=width)
    with console.capture() as captured:
        for each in tables:
            console.print(each)
    return captured.get().splitlines()


@pytest.mark.parametrize(("width", "number"), [(200, 1), (140, 2), (80, 3), (10, 6)])
def test_figures_that_do_not_fit_in_one_table_lie_in_several(width: int, number: int) -> None:
    tables = list(figures_tables("bitext", FIGURES, width))
    assert len(tables) == number
    assert [column.header for made in tables for column in made.columns if column.header != "bitext"] == list(METRICS)
    lines = printed(tables, max(width, 60))
    assert [len(re.findall(rf"\b{name}\b", "\n".join(lines))) for name in METRICS] == [1] * 6, "no name is broken"
    assert sum("0.2500 [0.125, 0.375]" in line for line in lines) == number
    assert sum(line.startswith("beside chance") for line in lines) == 1, "a row stands where it has a figure"
