"""docs/data.md is true: its commands run as written (on a small corpus), its YAML is accepted, its tables are whole."""

import gzip
import json
import os
import re
import shlex
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from data_prep.columns.config import ColumnsConfig
from data_prep.config import TokenizerConfig
from data_prep.errors import InputError
from data_prep.finish import LISTED_FINISHES, finish_module
from data_prep.plan import LARGEST_AUTO_SPLIT, SMALLEST_AUTO_SPLIT
from data_prep.shards import Dataset
from data_prep.sources.config import SourceKind
from data_prep.stages import STAGES, stage_module
from pipeline.config import load_config

PAGE = Path(__file__).parents[2] / "docs" / "data.md"
TEXT = PAGE.read_text(encoding="utf-8")
COMMANDS = [
    line for block in re.findall(r"```sh\n(.*?)```", TEXT, re.DOTALL) for line in block.splitlines() if line.strip()
]
YAML_BLOCKS = re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL)
# What makes a command of the page small: a part of its corpus, and a tokenizer that is trained at once.
SMALL = ["data.tokenizer.vocab_size=1500", "data.tokenizer.sample_bytes=65536", "data.workers=1"]
PARTS = {"stdlib": 'data.include=["json/*"]', "debian_reference": 'data.include=["ch0[34].*.html"]'}
LANGUAGES = ("en", "de", "fr", "ja")


def run(command: str, home: Path) -> subprocess.CompletedProcess[str]:
    name, verb, *arguments = shlex.split(command)
    assert name == "spanwright"
    more = SMALL if verb == "prep" else []
    more = more + [part for corpus, part in PARTS.items() if any(corpus in argument for argument in arguments)]
    done = subprocess.run(
        [sys.executable, "-m", "launch.cli", verb, *arguments, *more],
        capture_output=True,
        text=True,
        cwd=home,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's folder: some texts, and the file that the page says to save."""
    folder = tmp_path_factory.mktemp("home")
    sources = sorted(Path(sysconfig.get_paths()["stdlib"], "json").glob("*.py"))
    (folder / "texts").mkdir()
    for path in sources:
        (folder / "texts" / f"{path.stem}.txt").write_text(path.read_text())
    (folder / "more").mkdir()
    with gzip.open(folder / "more" / "a.jsonl.gz", "wt") as file:
        file.writelines(json.dumps({"text": path.read_text()[:2000] + str(n)}) + "\n" for n, path in enumerate(sources))
    [block] = [block for block in YAML_BLOCKS if "run: {dir: runs/mine}" in block]
    (folder / "mine.yaml").write_text(block)
    return folder


def test_the_commands_run_in_the_order_of_the_page(home: Path) -> None:
    commands = [command for command in COMMANDS if "debian" not in command]
    assert [shlex.split(command)[1] for command in commands] == ["prep", "inspect", "audit", "prep", "prep"]
    outputs = [run(command, home).stdout for command in commands]
    assert "columns" in outputs[1]
    assert "every file is as it was written" in outputs[2]
    manifest = Dataset.open(home / "runs/mine/data").manifest
    assert sorted(manifest.columns) == ["lang", "sents", "words"]
    assert [stage["stage"] for stage in manifest.report["summary"]["stages"]] == ["read", "clean", "language", "dedup"]
    assert "stdlib" in (home / "runs/stdlib/data/card.html").read_text(encoding="utf-8")


@pytest.fixture
def debian_reference() -> None:
    """The packages that the page names are installed."""
    folder = Path("/usr/share/debian-reference")
    missing = [f"debian-reference-{lang}" for lang in LANGUAGES if not (folder / f"ch03.{lang}.html").exists()]
    if missing:
        message = f"{' '.join(missing)} not installed: apt-get install {' '.join(missing)}"
        pytest.fail(message) if os.environ.get("CI") else pytest.skip(message)


def test_the_packaged_corpora_are_prepared(home: Path, debian_reference: None) -> None:
    for command in [command for command in COMMANDS if "debian" in command]:
        run(command, home)
    summary = Dataset.open(home / "runs/debian_reference/data").manifest.report["summary"]
    assert set(LANGUAGES) <= set(summary["documents"]["languages"])
    parallel = Dataset.open(home / "runs/debian_reference_parallel/data")
    assert {lang: row[0] for lang, row in parallel.manifest.report["summary"]["documents"]["languages"].items()} == (
        dict.fromkeys(sorted(LANGUAGES), 2)
    )
    pairs = [
        int(document.columns["pair"][0])
        for split in ("train", "heldout")
        for document in parallel.split(split).chunk(0).documents()
    ]
    assert len(pairs) == 2 * len(LANGUAGES)
    assert [pairs.count(pair) for pair in set(pairs)] == [len(LANGUAGES)] * 2
    card = (home / "runs/debian_reference_parallel/data/card.html").read_text(encoding="utf-8")
    assert "aligned with" in card


def test_a_data_file_in_the_place_of_a_config_is_explained() -> None:
    with pytest.raises(InputError, match=r"debian_reference.yaml is a `data:` section.*data=configs/data/debian_ref"):
        load_config("configs/data/debian_reference.yaml")


@pytest.mark.parametrize("number", range(len(YAML_BLOCKS)))
def test_every_config_of_the_page_is_accepted(number: int, tmp_path: Path) -> None:
    block = YAML_BLOCKS[number]
    path = tmp_path / "config.yaml"
    path.write_text(block if "extends:" in block else f"extends: t5_span\n{block}")
    assert load_config(str(path)).data.paths


def test_the_script_for_a_cluster_uses_what_there_is() -> None:
    [script] = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    compile(script, "data.md", "exec")
    from data_prep.driver import prepare

    assert "prepare(config.data, config.data_dir)" in script
    assert callable(prepare)


def test_the_size_of_a_unit_is_stated() -> None:
    assert f"from {SMALLEST_AUTO_SPLIT >> 20} to {LARGEST_AUTO_SPLIT >> 20} MiB" in TEXT


def rows(heading: str) -> dict[str, str]:
    """The table rows of a section, by their first cells; not the headings."""
    section = TEXT.split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]
    found = re.findall(r"^\| `([^`]+)` \| (.*)\|$(?!\n\|---)", section, re.MULTILINE)
    return {name.partition(":")[0] if heading == "Columns" else name: rest for name, rest in found}


def test_every_source_is_in_the_table() -> None:
    assert set(rows("Sources")) == set(SourceKind.__args__)


def test_every_stage_is_in_the_table_with_all_its_options() -> None:
    table = rows("Stages")
    assert set(table) == {*STAGES, *LISTED_FINISHES}
    for kind, row in table.items():
        module = stage_module(kind) if kind in STAGES else finish_module(kind)
        families = {"gopher_quality", "gopher_repetition", "c4"}
        for name in set(module.Config.model_fields) - {"kind"} - families:
            assert f"`{name}" in row, f"{kind}: {name}"


def test_every_column_and_tokenizer_is_in_its_table() -> None:
    assert set(rows("Columns")) == set(ColumnsConfig.model_fields)
    kinds = TokenizerConfig.model_fields["kind"].annotation.__args__
    assert set(rows("Tokenizer")) == {*(f"kind: {kind}" for kind in kinds), "path: my.model"}
