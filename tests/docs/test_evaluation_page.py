"""docs/evaluation.md: its table has every probe; its commands and its code run, in order, on two runs trained here."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.evaluation.config import probe_names
from tests.e2e.conftest import SMALL_RUN, python_sources, spanwright, write_jsonl

PAGE = (Path(__file__).parents[2] / "docs" / "evaluation.md").read_text(encoding="utf-8")
COMMANDS = [line for line in re.findall(r"^spanwright .*$", PAGE, re.MULTILINE) if "guides" not in line]
TRANSLATED = [line for line in re.findall(r"^spanwright .*$", PAGE, re.MULTILINE) if "guides" in line]
GUIDES = (Path("/usr/share/doc/installation-guide-amd64/ja"), Path("/usr/share/debian-reference/ch03.ja.html"))
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
MODELS = {
    "my_run": ("t5_span", SMALL_RUN[0]),
    "my_encoder": (
        "retromae",
        "model={architecture: bert, d_model: 64, d_kv: 16, d_ff: 128, num_layers: 2, num_heads: 4, "
        "positions: {kind: learned, max_positions: 160}}",
    ),
}
SHORT = (*SMALL_RUN[1:], "training.steps=4", "training.schedule.warmup_steps=1", "training.schedule.warmup_ratio=0")


def test_the_table_has_every_probe() -> None:
    assert sorted(re.findall(r"^\| `([a-z_]+)` \|", PAGE, re.MULTILINE)) == probe_names()
    assert (len(COMMANDS), len(TRANSLATED)) == (10, 2)


@pytest.mark.long
def test_every_command_and_every_piece_of_code_runs(tmp_path: Path) -> None:
    texts = [text for folder in ("json", "email", "logging") for text in python_sources(folder)]
    write_jsonl(tmp_path / "my.jsonl", texts)
    write_jsonl(tmp_path / "other.jsonl", python_sources("http"))
    (tmp_path / "other.yaml").write_text("paths: [other.jsonl]\n", encoding="utf-8")
    pairs = [json.dumps({"query": f"text number {n}", "text": text[:200]}) for n, text in enumerate(texts[:12])]
    (tmp_path / "pairs.jsonl").write_text("\n".join(pairs), encoding="utf-8")
    for run, (recipe, model) in MODELS.items():
        targets = "export.to=[hf, encoder, sentence-transformers]" if run == "my_encoder" else "export.to=[hf]"
        done = spanwright(
            "run", recipe, "data.paths=[my.jsonl]", model, targets, f"run.dir={run}", *SHORT, cwd=tmp_path
        )
        assert done.returncode == 0, done.stderr
    for command in COMMANDS:
        words = shlex.split(command)[1:]
        if words[0] == "train":
            assert spanwright("prep", *words[1:], MODELS["my_run"][1], *SHORT, cwd=tmp_path).returncode == 0
        more = (MODELS["my_run"][1], *SHORT) if words[0] == "train" else ()
        done = spanwright(*words, *more, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    for block in BLOCKS:
        done = subprocess.run([sys.executable, "-c", block], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    metrics = [json.loads(line) for line in (tmp_path / "my_run" / "train" / "metrics.jsonl").read_text().splitlines()]
    printed = [record["heldout_loss_hex"] for record in metrics if "heldout_loss_hex" in record]
    loss = json.loads((tmp_path / "my_run" / "evaluation" / "4.json").read_text())["probes"]["heldout"]["metrics"][
        "loss"
    ]
    assert loss["hex"] == printed[-1]
    card = (tmp_path / "my_encoder" / "export" / "sentence-transformers" / "README.md").read_text(encoding="utf-8")
    assert "layers: recommended_layer" in card
    assert {path.stem for path in (tmp_path / "watched" / "evaluation").glob("*.json")} == {"2", "4"}


@pytest.mark.long
@pytest.mark.skipif(not all(path.exists() for path in GUIDES), reason="the packages of the page are not installed")
def test_translations_are_found_and_languages_told(tmp_path: Path) -> None:
    """The commands of the page, with fewer steps."""
    short = ("training.steps=4", "training.schedule.warmup_steps=1", "data.workers=1", "export.to=[]")
    for command, more in zip(TRANSLATED, (short, ()), strict=True):
        done = spanwright(*shlex.split(command)[1:], *more, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    probes = json.loads((tmp_path / "guides" / "evaluation" / "4.json").read_text())["probes"]
    bitext, linear = probes["bitext"], probes["linear_probe"]
    assert len(bitext["groups"]["languages"]) == 6
    assert bitext["metrics"]["accuracy"]["low"] > bitext["groups"]["beside"]["chance"]["accuracy"]["value"]
    assert linear["settings"]["languages"] == ["de", "en", "fr", "ja"]
    assert linear["metrics"]["language_accuracy"]["low"] > 0.5
