"""The command line: help that reads well, one clear message and exit code 2 for wrong input."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from data_prep import native
from data_prep.errors import CorruptionError, InputError
from launch.cli import cli, main
from launch.listing import audit_folder
from launch.stage_actions import prep
from pipeline.config import load_config
from tests.launch.report.conftest import make_run

SPANWRIGHT = [sys.executable, "-m", "launch.cli"]


def spanwright(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*SPANWRIGHT, *arguments], capture_output=True, text=True, cwd=cwd, check=False)


def test_help_names_every_command_in_one_screen() -> None:
    done = spanwright("--help")
    assert done.returncode == 0
    for command in ("run", "prep", "train", "export", "evaluate", "inspect", "plan", "checkpoints", "audit", "recipes"):
        assert f"\n  {command}" in done.stdout
    assert len(done.stdout.splitlines()) <= 32
    assert done.stderr == ""


def test_recipes_as_json_are_objects_with_the_stated_fields() -> None:
    done = spanwright("recipes", "--json")
    assert done.returncode == 0
    recipes = {recipe["name"]: recipe for recipe in json.loads(done.stdout)}
    t5 = recipes["t5_span"]
    assert set(t5) >= {"name", "family", "needs", "parameters", "export", "source", "variants"}
    assert t5["parameters"] == 60_511_616  # what transformers builds for google/t5-v1_1-small with a tied head


def test_recipes_lists_every_model_size_and_wraps_what_it_says_below_the_names() -> None:
    done = spanwright("recipes")
    assert done.returncode == 0
    assert re.search(r"\n {4}Half of the tokens are hidden, .*\n {4}which are thrown away", done.stdout)
    for size in ("tiny", "small", "base", "large", "xl"):
        assert f"\n{size} " in done.stdout


def test_doctor_finds_what_this_machine_has() -> None:
    done = spanwright("doctor", "--json")
    assert done.returncode == 0, done.stderr
    findings = {finding["name"]: finding for finding in json.loads(done.stdout)}
    assert findings["torch"]["found"]
    assert findings["python"]["what"] == ".".join(map(str, sys.version_info[:3]))
    assert all(finding["found"] for finding in findings.values() if finding["needed"])


def test_doctor_says_what_is_lost_without_a_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "there-is-no-such-compiler")
    monkeypatch.setattr(native, "compiler", native.compiler.__wrapped__)  # which is asked once per process
    done = CliRunner().invoke(cli, ["doctor", "--json"])
    assert done.exit_code == 0, done.output
    compiler = next(finding for finding in json.loads(done.output) if finding["name"] == "C++ compiler")
    assert (compiler["found"], compiler["what"], compiler["needed"]) == (False, "none", False)
    for lost in ("attention", "masking", "`apt-get install g++`"):
        assert lost in compiler["advice"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("run", "t5_spann"), "Did you mean 't5_span'?"),
        (("run", "missing.yaml"), "no config named 'missing.yaml'"),
        (("run", "t5_span", "training.stepz=1"), "training.stepz: no such key. Did you mean 'steps'?"),
        (("run", "t5_span", "training.steps=many"), "training.steps: Input should be a valid integer"),
        (("run", "t5_span", "training.steps=0"), "training.steps: Input should be greater than 0 (got 0)"),
        (("run", "t5_span", "corruption.select.noise_densit=0.1"), "Did you mean 'noise_density'?"),
        (("run", "t5_span", "corruption.select.kind=t5_span"), "t5_spans"),
        (("run", "t5_span", "objective.kind=denoise"), "Did you mean 'denoising'?"),
        (("run", "t5_span", "trainin.steps=1"), "trainin: no such key. Did you mean 'training'?"),
        (("run", "t5_span", "model=tinny"), "Did you mean 'tiny'?"),
        (("run", "t5_span", "steps"), "section.key=value"),
        (("run", "t5_span"), "data.paths"),
        (("run", "t5_span", "data.paths=[nowhere.jsonl]"), "nowhere.jsonl"),
        (("train", "t5_span", "data.paths=[nowhere.jsonl]"), "spanwright prep"),
        (("inspect", "t5_span", "data.paths=[x.jsonl]"), "--text"),
        (("inspect", "t5_span", "data.paths=[x.jsonl]", "--text", "a"), "tokenizer"),
        (("inspect", "t5_span", "data.paths=[x.jsonl]", "--text", ""), "--text is empty"),
        (("inspect", "t5_span", "--step", "0"), "0 is not in the range x>=1. `spanwright inspect --help` explains it."),
        (("prep", "t5_span", "data.paths=[x.jsonl]", "run.dir=/dev/null"), "a file is in the way of this folder"),
        (("audit", "nowhere"), "does not exist"),
        (("runn",), "No such command"),
        (("run",), "Missing argument 'CONFIG'"),
    ],
)
def test_wrong_input_is_one_message_and_exit_code_2(
    tmp_path: Path,
    arguments: tuple[str, ...],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """All of what the command does, in this process: starting one takes longer than it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["spanwright", *arguments])
    with pytest.raises(SystemExit) as left:
        main()
    said = capfd.readouterr().err
    assert left.value.code == 2, said
    assert message in " ".join(said.split())
    assert said.startswith("error ")
    assert said.count("\n") == 1


def test_wrong_input_ends_the_process_with_exit_code_2_and_its_message(tmp_path: Path) -> None:
    done = spanwright("run", "t5_spann", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error no config named 't5_spann'")
    assert done.stderr.count("\n") == 1


def test_a_mistake_in_a_file_is_named_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("extends: t5_span\ndata:\n  paths: [x.jsonl]\n  languag: no\ntraining: {steps: 1e-4}\n")
    done = spanwright("plan", "mine.yaml", cwd=tmp_path)
    assert done.returncode == 2
    assert "mine.yaml:4: data.languag: no such key." in done.stderr
    assert "mine.yaml:5: training.steps: Input should be a valid integer" in " ".join(done.stderr.split())


def test_debug_shows_the_traceback(tmp_path: Path) -> None:
    done = spanwright("--debug", "run", "missing.yaml", cwd=tmp_path)
    assert "Traceback" in done.stderr


def test_plan_prints_a_config_that_loads_to_the_same_plan(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_text('{"text": "a"}\n')
    run_dir = tmp_path / "a folder with a name that does not fit on a line of eighty columns" / "run"
    first = spanwright("plan", "t5_span", "data.paths=[x.jsonl]", "model=tiny", f"run.dir={run_dir}", cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    assert f"  dir: {run_dir}\n" in first.stdout
    (tmp_path / "again.yaml").write_text(first.stdout[: first.stdout.index("\nstage")])
    second = spanwright("plan", "again.yaml", cwd=tmp_path)
    assert second.stdout == first.stdout


def test_fresh_removes_nothing_without_an_answer(tmp_path: Path) -> None:
    metrics = tmp_path / "train" / "metrics.jsonl"
    metrics.parent.mkdir()
    metrics.write_text("{}\n")
    for answers in ("", "n\n", None):
        command = [*SPANWRIGHT, "train", "t5_span", f"run.dir={tmp_path}", "--fresh"]
        closed = (lambda: os.close(0)) if answers is None else None
        done = subprocess.run(command, capture_output=True, text=True, input=answers, preexec_fn=closed, check=False)
        assert done.returncode == 2, done.stderr
        assert "error --fresh: " in done.stderr
        assert "Traceback" not in done.stderr
    assert metrics.read_text() == "{}\n"


EXTRA_COMMANDS = """
import time
from launch import cli

@cli.cli.command()
def wait():
    print("ready", flush=True)
    time.sleep(60)

@cli.cli.command()
def fail():
    1 / 0

cli.main()
"""


def test_ctrl_c_is_exit_code_75_and_one_message() -> None:
    command = [sys.executable, "-c", EXTRA_COMMANDS, "wait"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=300)
    assert process.returncode == 75
    assert said.strip() == "error interrupted. The same command continues where it stopped."


def test_an_error_nobody_foresaw_is_one_message_without_a_traceback() -> None:
    done = subprocess.run([sys.executable, "-c", EXTRA_COMMANDS, "fail"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("error ZeroDivisionError: division by zero. ")
    assert done.stderr.count("\n") == 1


def test_an_audit_of_a_run_without_results_says_so(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("extends: t5_span\n")
    with pytest.raises(InputError, match="neither a finished dataset nor a checkpoint yet"):
        audit_folder(tmp_path)


def test_a_damaged_record_of_a_stage_counts_as_not_run(tmp_path: Path) -> None:
    (tmp_path / "stages").mkdir()
    (tmp_path / "stages" / "prep.json").write_text('{"identity": ')
    done = spanwright("plan", "t5_span", f"run.dir={tmp_path}")
    assert done.returncode == 0, done.stderr
    assert re.search(r"^prep .*not run", done.stdout, re.MULTILINE)


def test_a_damaged_dataset_does_not_keep_prep_from_making_it_again(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text("{")
    overrides = [f"data.dir={tmp_path}", f"run.dir={tmp_path / 'run'}"]
    with pytest.raises(CorruptionError, match=r"manifest\.json"):
        prep(load_config("t5_span", overrides))  # without a corpus there is nothing to make it from
    with pytest.raises(InputError, match=r"nowhere\.jsonl: no such file"):  # the corpus is looked for, then
        prep(load_config("t5_span", [*overrides, "data.paths=[nowhere.jsonl]"]))


def test_what_an_export_is_told_is_for_that_export_alone(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", steps=0)
    config = (run / "config.yaml").read_bytes()
    done = CliRunner().invoke(cli, ["export", str(run), "--to", "native", "--layers", "1", "export.tolerance=1e-9"])
    assert isinstance(done.exception, InputError)
    assert "export needs the result of train" in str(done.exception)
    assert (run / "config.yaml").read_bytes() == config
