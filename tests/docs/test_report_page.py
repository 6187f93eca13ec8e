"""docs/report.md: its commands run, and the files it names hold what it says."""

import re
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner

from launch.cli import cli
from pipeline.training.reports.metrics import read_metrics
from tests.launch.report.conftest import make_run

PAGE = (Path(__file__).parents[2] / "docs" / "report.md").read_text(encoding="utf-8")


def test_the_commands_write_the_pages_they_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("demo", "other"):
        make_run(tmp_path / "runs" / name, steps=0)
    commands = [line for line in PAGE.splitlines() if line.startswith("spanwright ")]
    assert len(commands) == 2
    for command in commands:
        done = CliRunner().invoke(cli, shlex.split(command)[1:])
        assert done.exit_code == 0, done.output
    for page in ("runs/demo/report.html", "compare.html"):
        assert (tmp_path / page).read_text(encoding="utf-8").startswith("<!DOCTYPE html>")


def test_the_files_it_names_hold_what_it_says(tmp_path: Path) -> None:
    train = make_run(tmp_path / "run", steps=1) / "train"
    named = set(re.findall(r"^\| `(\w+\.jsonl)` \|", PAGE, re.MULTILINE))
    written = {path.name for path in train.glob("*.jsonl")}
    assert named == written | {"attempts.jsonl"}
    [step] = [record for record in read_metrics(train / "metrics.jsonl") if "loss" in record]
    assert {"loss", "terms", "tokens", "lr", "grad_norm", "tokens_per_second", "data_wait", "flops"} <= step.keys()
