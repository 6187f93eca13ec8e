"""A report says what lies in the run's folder, and what does not."""

from pathlib import Path

import pytest

from data_prep.errors import CorruptionError, InputError
from launch.nodes.attempts import record_end, record_start
from launch.report.history import attempt_rows
from launch.report.report import report_page, write_report
from launch.report.run import read_run
from pipeline.config import load_run
from pipeline.training.reports.history import History
from tests.browser import Browser, needs_chromium
from tests.launch.report.conftest import ATTACK, make_run, write_evaluation

RETRIEVAL = {"retrieval": {"metrics": {"mrr@10": {"value": 0.25, "low": 0.2, "high": 0.3}, "queries": {"value": 40}}}}
LAYERS = {
    "layers": {
        "metrics": {"recommended_layer": {"value": 1}},
        "groups": {"layer": {str(layer): {"entropy": {"value": 2.5 - layer}} for layer in range(3)}},
    }
}


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of a whole run."""
    run = make_run(tmp_path_factory.mktemp("runs") / "mine", terms=2)
    write_evaluation(run, 60, RETRIEVAL)
    write_evaluation(run, 120, RETRIEVAL | LAYERS)
    path = write_report(run)
    assert path == run / "report.html"
    return path


@needs_chromium
def test_a_person_sees_the_whole_run_light_and_dark_wide_and_narrow(page: Path, browser: Browser) -> None:
    with browser.see(page) as seen:
        assert seen.problems() == []
        text = seen.text()
        for said in (
            "mine", "Done: 120 steps.", "9.000 → ", "600.0 k", "killed?", "world_size: 2 -> 1", "rolled back",
            "samples 3,000 to 3,031 left out", "mrr@10",
            "layers: entropy", "0.2 to 0.3", "Predictions over time", "Held-out loss by term",
            ATTACK, "step 40", "50% right", "100% right",
        ):  # fmt: skip
            assert said in text, said
        assert "global_batch: 32" not in text
        seen.page.click("text=All of it, with the defaults")
        assert "global_batch: 32" in seen.text("#config")
    for width, scheme in ((1280, "dark"), (390, "light"), (390, "dark")):
        with browser.see(page, width, scheme) as seen:
            assert seen.problems() == []


AXES = {"steps": ("step", "120"), "tokens": ("tokens", "600 k"), "FLOPs": ("FLOPs", "120 G"), "time": ("hours", "3")}


@needs_chromium
def test_the_switch_changes_the_x_axis_of_every_chart(page: Path, browser: Browser) -> None:
    for width in (1280, 390):
        with browser.see(page, width) as seen:
            for choice, (label, last) in AXES.items():
                seen.page.get_by_role("radio", name=choice).check()
                shown = seen.charts()
                assert len(shown) == seen.page.locator("figure.chart").count()
                assert shown.pop("layers: entropy by layer")
                assert f"retrieval: mrr@10 by {label}" in shown
                assert {name.rpartition(" by ")[2] for name in shown} == {label}
                assert last in shown[f"Loss by {label}"]


def test_a_run_without_a_step_and_one_that_has_not_begun_say_so(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", steps=0)
    page = report_page(read_run(run)).decode()
    assert "This run has not begun to train." in page
    assert "there is nothing to draw" in page
    History(run / "train").add("start", 0, host="here", environment={}, changes=[])
    assert "Ended at step 0 of 120 without saying why" in report_page(read_run(run)).decode()


@pytest.mark.parametrize(
    ("event", "said"),
    [("stopped", "Stopped early at step 30 of 120"), ("failed", "Failed at step 30 of 120: the disk is full")],
)
def test_the_state_of_a_run_that_is_not_done(tmp_path: Path, event: str, said: str) -> None:
    run = make_run(tmp_path / "run", steps=30)
    History(run / "train").add(event, 30, reason="the disk is full")
    assert said in read_run(run).state


def test_a_run_whose_rank_beats_is_running(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", steps=30)
    (run / "train" / "beats").mkdir()
    (run / "train" / "beats" / "rank-0.json").write_text("{}")
    assert read_run(run).state == "Running, at step 30 of 120."


def test_supervised_attempts_are_told_with_their_end(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", steps=0)
    config = load_run(run)
    record_start(config, 1, ["node1", "node2"], 2, None)
    record_end(config, 1, "failed", 7, "node2 is gone")
    [row] = attempt_rows(read_run(run))
    assert (row[0], *row[3:]) == ("1", "node1, node2", "2", "failed node2 is gone")


def test_what_is_no_run_is_one_message(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no such folder"):
        read_run(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"not a run folder: it has no config\.yaml"):
        read_run(tmp_path)


def test_damaged_metrics_are_one_message_and_other_damage_a_line_on_the_page(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", steps=0)
    write_evaluation(run, 120, RETRIEVAL).write_text('{"step": 120, "pro')
    checkpoint = run / "train" / "checkpoints" / "step-00000050"
    checkpoint.mkdir(parents=True)
    (checkpoint / "state.json").write_text("{}")
    (checkpoint / "manifest.json").write_text("{}")
    found = read_run(run)
    assert len(found.problems) == 2
    page = report_page(found).decode()
    assert "What could not be read" in page
    assert "evaluation/120.json: cannot be read" in page
    (run / "train" / "metrics.jsonl").write_text(
        '{"step": 1, "loss": 5.0}\n{"step": 2, "lo\n{"step": 3, "loss": 5.0}\n'
    )
    with pytest.raises(CorruptionError, match=r"metrics\.jsonl, line 2: damaged"):
        read_run(run)


def test_a_page_asks_for_nothing_from_anywhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert "://" not in text
    assert "<script" not in text
    assert "default-src 'none'" in text
