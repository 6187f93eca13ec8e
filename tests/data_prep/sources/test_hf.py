"""Corpora on the Hugging Face Hub, read by huggingface_hub from a real server process that speaks the Hub's API."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from socket import create_server
from typing import Any

import fsspec
import pytest

from data_prep.errors import InputError, SpanwrightError
from data_prep.shards import Dataset, audit_dataset
from data_prep.sources import InputSplit, read
from data_prep.sources.inputs import find_inputs
from data_prep.sources.kinds import ranges
from tests import hub_server
from tests.remote_corpus import config_of, jsonl_lines, texts

hub = pytest.importorskip("huggingface_hub")

LINES = jsonl_lines(2000)
URL = "hf://datasets/owner/texts"
TINY = (
    "data.heldout_fraction=0.1",
    "data.tokenizer.vocab_size=600",
    "data.workers=1",
    "data.shards.window_sizes=[128]",
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """A server's URL and its folder, with the data set `owner/texts`."""
    folder = tmp_path_factory.mktemp("hub")
    (folder / "owner/texts/a/b").mkdir(parents=True)
    (folder / "owner/texts/a/big.jsonl").write_text("".join(LINES))
    (folder / "owner/texts/a/b/small.txt").write_text("größer")
    with hub_server.running(folder) as url:
        yield url, folder


@pytest.fixture
def here(server: tuple[str, Path], monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The data set's folder, while this process takes the server for the Hub (HF_ENDPOINT is read at import only)."""
    url, folder = server
    monkeypatch.setitem(fsspec.config.conf, "hf", {"endpoint": url})
    hub.HfFileSystem.clear_instance_cache()
    yield folder / "owner/texts"
    hub.HfFileSystem.clear_instance_cache()


@pytest.mark.usefixtures("here")
def test_folders_globs_and_byte_ranges_are_read_by_url() -> None:
    folder = [("b/small.txt", "text"), ("big.jsonl", "jsonl")]
    assert [(file.name, file.source) for file in find_inputs(config_of(f"{URL}/a"))] == folder
    [big] = find_inputs(config_of(f"{URL}/a/*.jsonl"))
    assert len(ranges(big, config_of(f"{URL}/a/*.jsonl"), 10_000)) > 1
    assert texts(big, config_of(f"{URL}/a/*.jsonl"), 10_000) == [line[10:-3] for line in LINES]


def test_a_file_that_changed_and_ones_that_are_not_there_are_named(here: Path) -> None:
    (here / "c").mkdir()
    (here / "c/changing.txt").write_bytes(b"before")
    [file] = find_inputs(config_of(f"{URL}/c"))
    (here / "c/changing.txt").write_bytes(b"after!")
    with pytest.raises(InputError, match=rf"^{URL}/c/changing\.txt: changed while the data was being prepared"):
        list(read(InputSplit(file, 0, file.size), config_of(f"{URL}/c")))
    [file] = find_inputs(config_of(f"{URL}/c"))
    assert [found.text for found in read(InputSplit(file, 0, file.size), config_of(f"{URL}/c"))] == ["after!"]  # type: ignore[union-attr]
    for missing in (f"{URL}/none.txt", "hf://datasets/owner/none", f"{URL}@other/a"):
        with pytest.raises(InputError, match=f"{missing}: no such file"):
            find_inputs(config_of(missing))


def test_a_hub_that_does_not_answer_is_one_error(monkeypatch: pytest.MonkeyPatch) -> None:
    with closing(create_server(("127.0.0.1", 0))) as free:
        port = free.getsockname()[1]
    monkeypatch.setitem(fsspec.config.conf, "hf", {"endpoint": f"http://127.0.0.1:{port}"})
    with pytest.raises(SpanwrightError, match=f"^{URL}: the store cannot be read .*; check the network"):
        find_inputs(config_of(URL))


def test_prep_makes_a_dataset_of_a_repository(server: tuple[str, Path], tmp_path: Path) -> None:
    url, folder = server
    source = folder / "owner/prose"
    source.mkdir(parents=True)
    lines = [json.dumps({"text": f"{this.__doc__} {number}"}) for number in range(100) for this in (Path, str, list)]
    (source / "prose.jsonl").write_text("\n".join(lines) + "\n")
    command = [str(Path(sys.executable).with_name("spanwright")), "prep", "t5_span", *TINY]
    command += ["data.paths=[hf://datasets/owner/prose]", f"run.dir={tmp_path / 'run'}"]
    environment: dict[str, Any] = {**os.environ, "HF_ENDPOINT": url, "HF_HOME": str(tmp_path / "home")}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    [out] = [path.parent for path in (tmp_path / "run").rglob("manifest.json")]
    dataset = Dataset.open(out)
    assert audit_dataset(out).ok
    assert sum(entry.documents for entries in dataset.manifest.splits.values() for entry in entries) == 300
