"""A comparison lays runs over each other, says what differs, and tells differences from chance."""

from pathlib import Path
from typing import Any

import pytest

from data_prep.errors import InputError
from launch.report.compare import differences, write_comparison
from launch.report.curves import common_axes
from launch.report.evaluations import evaluation_table
from launch.report.run import read_run
from tests.browser import Browser, needs_chromium
from tests.launch.report.conftest import make_run, write_evaluation


def probe(value: float, low: float, high: float, values: list[float] | None = None) -> dict[str, Any]:
    """The results of a probe."""
    metrics = {"mrr@10": {"value": value, "low": low, "high": high}, "queries": {"value": 40}}
    return {"metrics": metrics, "groups": {"source": {"a.jsonl": metrics}}, "values": values or []}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three runs, one of which has not begun."""
    folder = tmp_path_factory.mktemp("runs")
    first = make_run(folder / "plain" / "seed-0")
    other = make_run(folder / "fast" / "seed-0", "training.learning_rate=1e-2", "run.seed=3", loss=4.0)
    write_evaluation(first, 60, {"retrieval": probe(0.1, 0.05, 0.15)})
    write_evaluation(first, 120, {"retrieval": probe(0.2, 0.15, 0.25)})
    write_evaluation(other, 120, {"retrieval": probe(0.4, 0.35, 0.45)})
    return [first, other, make_run(folder / "new", steps=0)]


@needs_chromium
def test_a_person_sees_curves_over_each_other_and_what_differs(
    runs: list[Path], tmp_path: Path, browser: Browser
) -> None:
    page = write_comparison(runs, tmp_path / "out" / "compare.html")
    with browser.see(page) as seen:
        assert seen.problems() == []
        text = seen.text()
        for said in ("plain/seed-0", "fast/seed-0", "No step is done yet in", "0.4 higher"):
            assert said in text, said
        assert "the intervals do not overlap" in text
        assert "training.learning_rate" in seen.text("#differences")
        assert "run.dir" not in text
        assert {"Held-out loss by step", "retrieval: mrr@10 by step"} <= seen.charts().keys()
        seen.page.get_by_role("radio", name="FLOPs").check()
        assert "Held-out loss by FLOPs" in seen.charts()
    for width, scheme in ((1280, "dark"), (390, "light"), (390, "dark")):
        with browser.see(page, width, scheme) as seen:
            assert seen.problems() == []


def test_an_axis_that_one_run_has_not_recorded_is_not_offered(tmp_path: Path) -> None:
    runs = [make_run(tmp_path / name, steps=2, flops=flops) for name, flops in (("new", 10), ("old", 0))]
    new, old = (read_run(run) for run in runs)
    assert common_axes([new]) == ["step", "tokens", "flops", "time"]
    assert common_axes([new, old]) == ["step", "tokens", "time"]


def test_differences_are_fields_with_their_values() -> None:
    one = {"model": {"d_model": 64, "layers": [1, 2]}, "run": {"dir": "a", "seed": 0}, "phases": None}
    other = {"model": {"d_model": 64, "layers": [1, 3]}, "run": {"dir": "b", "seed": 0}, "export": {"to": []}}
    assert differences([one, other]) == [("model.layers", ["[1, 2]", "[1, 3]"]), ("export.to", ["-", "[]"])]


def cell_of(first: dict[str, Any], other: dict[str, Any]) -> Any:
    """The cell of the second evaluation's first metric."""
    rows = evaluation_table([{"probes": {"p": first}}, {"probes": {"p": other}}])
    return rows[0].cells[1]


def test_the_same_items_are_paired_which_sees_more_than_intervals_do() -> None:
    firsts = [0.0, 1.0] * 50
    better = [value + 0.05 + 0.01 * (n % 3) for n, value in enumerate(firsts)]
    overlapping = probe(0.5, 0.4, 0.6, firsts), probe(0.56, 0.46, 0.66, better)
    assert cell_of(*overlapping).differs == "higher"
    assert "paired bootstrap" in cell_of(*overlapping).why
    assert cell_of(*reversed(overlapping)).differs == "lower"
    elsewhere = {**overlapping[1], "settings": {"dataset": "another"}}
    assert cell_of(overlapping[0], elsewhere).why == "the intervals overlap"
    assert cell_of(probe(0.5, 0.4, 0.6), probe(0.56, 0.46, 0.66)).differs == ""
    assert cell_of(probe(0.5, 0.4, 0.6, firsts), probe(0.5, 0.4, 0.6, firsts)).differs == ""


def test_a_metric_without_an_interval_and_one_that_is_missing_are_told_as_such() -> None:
    rows = evaluation_table([{"probes": {"p": probe(0.5, 0.4, 0.6)}}, None])
    assert [(row.metric, row.cells[0].interval, row.cells[1]) for row in rows] == [
        ("mrr@10", "0.4 to 0.6", None), ("queries", "", None),
    ]  # fmt: skip


def test_one_run_or_the_same_twice_is_a_mistake(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", steps=0)
    with pytest.raises(InputError, match="give two runs or more"):
        write_comparison([run], tmp_path / "out.html")
    with pytest.raises(InputError, match="the same run is given twice"):
        write_comparison([run, tmp_path / "run" / ".." / "run"], tmp_path / "out.html")
    with pytest.raises(InputError, match="there is no such folder"):
        write_comparison([run, tmp_path / "nowhere"], tmp_path / "out.html")
    assert not (tmp_path / "out.html").exists()
