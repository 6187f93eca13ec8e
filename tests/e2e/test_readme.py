"""The README is true: its commands run as written, in a folder that has nothing but the user's file."""

import json
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from launch.cli import cli
from pipeline.config import load_config
from tests.e2e.conftest import SPANWRIGHT, python_sources, spanwright, write_jsonl
from tests.processes import run_without_project

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
RUN_COMMAND = (
    "spanwright run t5_span data.paths=[my.jsonl] model=tiny training.steps=20 training.global_batch=16 run.dir=my_run"
)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's folder after the README's command for a file of one's own."""
    folder = tmp_path_factory.mktemp("home")
    write_jsonl(folder / "my.jsonl", python_sources("json") + python_sources("email"))
    assert f"\n{RUN_COMMAND}\n" in README
    done = subprocess.run(
        [*SPANWRIGHT, *shlex.split(RUN_COMMAND)[1:]], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return folder


def test_the_command_leaves_a_hugging_face_model_that_loads_without_this_project(home: Path) -> None:
    snippet = next(block for block in re.findall(r"```python\n(.*?)```", README, re.DOTALL) if "my_run" in block)
    check = (
        "ids = tokenizer('def <extra_id_0>(self):', return_tensors='pt').input_ids; print(model.generate(ids).shape)"
    )
    done = run_without_project(f"{snippet}\n{check}", home)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("torch.Size([1, ")


def test_the_export_is_the_trained_model(home: Path) -> None:
    figures = json.loads((home / "my_run/export/export.json").read_text())["hf"]
    assert 0 < figures["logits"]["max_abs_difference"] <= 1e-4
    assert figures["logits"]["sequences"] > 0
    assert figures["tokenizer"]["different"] == 0


def test_running_it_again_does_nothing_again(home: Path) -> None:
    before = (home / "my_run/train/result.json").stat().st_mtime_ns
    done = spanwright(*shlex.split(RUN_COMMAND)[1:], cwd=home)
    assert done.returncode == 0
    assert done.stdout.count("done before, nothing changed") == 4
    assert (home / "my_run/train/result.json").stat().st_mtime_ns == before


def test_a_run_can_be_named_by_its_folder(home: Path) -> None:
    done = spanwright("plan", "my_run", cwd=home)
    assert done.returncode == 0
    assert done.stdout.count(" done ") == 4


def test_only_the_export_reruns_when_only_the_export_changed(home: Path) -> None:
    done = spanwright("run", "my_run", "export.dtype=bf16", cwd=home)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("done before, nothing changed") == 2  # prep, train; evaluation depends on the export
    record = json.loads((home / "my_run/export/export.json").read_text())["hf"]
    assert record["dtype"] == "bf16"
    assert (home / "my_run/export/hf/model.safetensors").stat().st_size < 2 * 14.6e6


def test_an_export_that_is_gone_is_made_again(home: Path) -> None:
    weights = (home / "my_run/export/hf/model.safetensors").read_bytes()
    shutil.rmtree(home / "my_run/export")
    done = spanwright("run", "my_run", cwd=home)
    assert done.stdout.count("done before, nothing changed") == 3
    assert (home / "my_run/export/hf/model.safetensors").read_bytes() == weights


def test_a_changed_model_is_refused_with_both_values(home: Path) -> None:
    done = spanwright("run", "my_run", "model.d_ff=256", cwd=home)
    assert done.returncode == 2
    assert "model.d_ff was 512" in done.stderr
    assert "is 256 now" in done.stderr
    assert "d_ff: 512" in (home / "my_run/config.yaml").read_text()


def test_inspect_shows_a_text_and_a_step_of_the_run(home: Path) -> None:
    text = spanwright("inspect", "my_run", "--text", "for name in names:\n    print(name, sep='')\n", cwd=home)
    assert text.returncode == 0
    assert "encoder" in text.stdout
    assert "⟨0⟩" in text.stdout
    step = spanwright("inspect", "my_run", "--step", "3", cwd=home)
    assert step.returncode == 0
    assert "positions 32 to 47" in step.stdout
    assert "my.jsonl" in step.stdout
    assert spanwright("inspect", "my_run", "--step", "21", cwd=home).returncode == 2


def test_inspect_shows_the_documents_of_the_runs_dataset(home: Path) -> None:
    done = spanwright("inspect", "my_run/data", "--documents", "1", cwd=home)
    assert done.returncode == 0, done.stderr
    assert "my.jsonl" in done.stdout


def test_checkpoints_are_listed_and_a_damaged_one_is_named_by_audit(home: Path) -> None:
    listed = spanwright("checkpoints", "my_run", cwd=home)
    assert listed.returncode == 0
    assert "step-00000020" in listed.stdout
    assert "valid" in listed.stdout
    assert spanwright("audit", "my_run", cwd=home).returncode == 0
    victim = home / "my_run/train/checkpoints/step-00000020/master-00000.safetensors"
    healthy = victim.read_bytes()
    victim.write_bytes(healthy[:-1] + bytes([healthy[-1] ^ 1]))
    try:
        done = spanwright("audit", "my_run", cwd=home)
        assert done.returncode == 1
        assert "master-00000.safetensors" in done.stderr
    finally:
        victim.write_bytes(healthy)


def test_every_config_in_the_readme_is_valid(tmp_path: Path) -> None:
    configs = re.findall(r"```yaml\n(.*?)```", README, re.DOTALL)
    assert len(configs) == 2
    for number, text in enumerate(configs):
        path = tmp_path / f"{number}.yaml"
        path.write_text(text, encoding="utf-8")
        loaded = load_config(str(path))
        assert Path(str(loaded.run.dir)).parent.name == "runs"
    assert [stage.kind for stage in loaded.data.stages] == [
        *("clean", "language", "boilerplate", "dedup", "decontaminate", "select"),
    ]


def test_the_position_schemes_that_the_readme_names_are_taken() -> None:
    for scheme in ("rope", "t5", "alibi", "learned", "sinusoidal"):
        assert f"`{scheme}`" in README or f"model.positions={scheme}`" in README
        loaded = load_config("t5_span", (f"model.positions={scheme}", "export.to=[]"))
        assert loaded.model.positions.kind == scheme
    assert load_config("t5_span", ("model.decoder_positions=none", "export.to=[]")).model.decoder_positions is not None


def test_every_command_in_the_readmes_table_exists() -> None:
    named = set(re.findall(r"^\| `spanwright (\w+)", README, re.MULTILINE))
    assert named == set(cli.commands)


def test_every_file_the_readme_links_to_exists() -> None:
    root = Path(__file__).parents[2]
    links = [link for link in re.findall(r"\]\(([^)]+)\)", README) if not link.startswith("http")]
    assert links
    for link in links:
        assert (root / link).exists(), link
