"""docs/operations.md: every command is run here, or stands below the words that say it needs a cluster."""

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from launch.cli import cli
from tests.conftest import needs

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
BACKGROUND = ("--cluster local", "spanwright status", "spanwright logs", "spanwright cancel")


def commands() -> Iterator[tuple[str, bool]]:
    """Each `spanwright` line of the page, and whether it is marked as needing a cluster."""
    parts = PAGE.split("```")
    for before, block in zip(parts[::2], parts[1::2], strict=False):
        needs_cluster = before.rstrip().rsplit("\n\n", 1)[-1].startswith("*Needs a cluster")
        for line in block.splitlines():
            if line.startswith("spanwright "):
                yield line.partition("  #")[0].strip(), needs_cluster


def on_paper() -> list[str]:
    """Those that contact nothing."""
    return [line for line, needs in commands() if not needs and not any(word in line for word in BACKGROUND)]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the page's my.yaml and corpus/."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "corpus").mkdir()
    (tmp_path / "my.yaml").write_text("extends: t5_span\ndata: {paths: [corpus/]}\nrun: {dir: runs/mine}\n")
    return tmp_path


def test_the_page_has_commands_of_every_kind() -> None:
    marked = [line for line, needs in commands() if needs]
    assert len(marked) >= 3
    assert all("submit" in line for line in marked)
    assert sum("--dry-run" in line or "--print" in line for line in on_paper()) == 4
    assert sum("spanwright plan" in line for line in on_paper()) == 3
    assert [word for word in BACKGROUND if not any(word in line for line, _ in commands())] == []


@pytest.mark.parametrize("line", on_paper())
def test_what_needs_no_cluster_runs_as_the_page_says_and_writes_nothing(line: str, here: Path) -> None:
    done = CliRunner().invoke(cli, shlex.split(line)[1:], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert len(done.output.splitlines()) > 10
    assert sorted(path.name for path in here.iterdir()) == ["corpus", "my.yaml"]


def test_the_figures_of_the_64_gpus_are_those_the_command_gives(here: Path) -> None:
    [line] = [line for line in on_paper() if "--gpus 64" in line and "model=xl" in line]
    said = CliRunner().invoke(cli, shlex.split(line)[1:], catch_exceptions=False).output
    for figure in (
        "6.35 GB per GPU",
        "32 x 64 GPUs x 1 accumulated",
        "10.96 GB sent",
        "0.607 s",
        "0.219 s",
        "33.41 GB",
    ):
        assert figure in said
    for figure in ("6.4 GB", "micro-batch of 32", "11 GB", "0.22 s", "0.61 s", "33 GB", "0.7 days"):
        assert figure in PAGE


def test_what_the_4096_gpus_are_limited_by_is_what_the_page_says(here: Path) -> None:
    [line] = [line for line in on_paper() if "--gpus 4096" in line]
    small = CliRunner().invoke(cli, shlex.split(line)[1:], catch_exceptions=False).output
    large = CliRunner().invoke(cli, [*shlex.split(line)[1:], "training.global_batch=65536"]).output
    assert re.search(r"limited by +links", small)
    assert re.search(r"limited by +compute", large)


@needs("shellcheck")
def test_the_dockerfile_passes_hadolint_and_the_apptainer_definition_shellcheck(tmp_path: Path) -> None:
    linted = subprocess.run(
        [str(Path(sys.executable).with_name("hadolint")), str(ROOT / "containers" / "Dockerfile")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert linted.returncode == 0, linted.stdout
    sections = re.split(r"^%(\w+)\n", (ROOT / "containers" / "spanwright.def").read_text(encoding="utf-8"), flags=re.M)
    assert sections[0].rstrip().endswith("ubuntu24.04")
    for name, text in zip(sections[1::2], sections[2::2], strict=True):
        if name in ("post", "environment", "test"):
            script = tmp_path / name
            script.write_text(text, encoding="utf-8")
            done = subprocess.run(
                ["shellcheck", "--shell=sh", str(script)], capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, done.stdout
