"""docs/export.md: its tables have every target and recipe; its commands and its code run, in order, on two runs."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from launch.arguments import TARGETS
from pipeline.config import load_config
from tests.e2e.conftest import python_sources, spanwright, write_jsonl
from tests.processes import run_without_project
from tests.recipes.small import RECIPES

PAGE = (Path(__file__).parents[2] / "docs" / "export.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^spanwright .*$", PAGE, re.MULTILINE)
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
SMALL = (
    "data.tokenizer={vocab_size: 1024, sample_bytes: 200000}", "stream.window=128", "data.heldout_fraction=0.1",
    "training.global_batch=16", "training.micro_batch=4", "training.heldout_samples=8", "training.evaluate_every=null",
    "training.threads_per_rank=1", "training.steps=4", "training.schedule={kind: inverse_sqrt}",
)  # fmt: skip


def test_the_tables_have_every_target_and_recipe_and_every_field_is_a_fields_name() -> None:
    targets, recipes = PAGE.split("| recipe | architecture |")
    assert tuple(re.findall(r"^\| `([a-z-]+)` \|", targets, re.MULTILINE)) == TARGETS
    assert re.findall(r"^\| `(\w+)` \|", recipes, re.MULTILINE) == RECIPES
    fields = set(load_config("t5_span", ["data.paths=[x]"]).export.model_dump())
    named = set(re.findall(r"export\.([a-z_]+)=?", PAGE)) - {"json", "native", "onnx_tolerance"}
    assert named - fields == set()
    assert len(COMMANDS) == 4


@pytest.mark.long
def test_every_command_and_every_piece_of_code_runs(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "my.jsonl", python_sources("json") + python_sources("email"))
    for recipe, run, model in (("t5_span", "my_run", "tiny"), ("retromae", "my_encoder", "bert_tiny")):
        arguments = (recipe, "data.paths=[my.jsonl]", f"model={model}", f"run.dir={run}", *SMALL)
        assert spanwright("run", *arguments, cwd=tmp_path).returncode == 0
    assert spanwright("export", "my_run", "--to", "native", cwd=tmp_path).returncode == 0
    for command in COMMANDS:
        words = shlex.split(command)[1:]
        done = spanwright(*words, *(SMALL if words[0] == "run" else ()), cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    for block in BLOCKS:
        if "from pipeline." in block:  # our own layout needs our own loader
            done = subprocess.run(
                [sys.executable, "-c", block], cwd=tmp_path, capture_output=True, text=True, check=False
            )
        else:
            done = run_without_project(block, tmp_path)
        assert done.returncode == 0, done.stderr
