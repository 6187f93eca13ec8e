"""Error budgets and the quarantine."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from data_prep import quarantine
from data_prep.config import DataConfig
from data_prep.errors import InputError
from data_prep.shards import audit_dataset

MakeConfig = Callable[..., DataConfig]
Files = Callable[[Path], dict[str, bytes]]

pytestmark = pytest.mark.usefixtures("tiny_stages")


@pytest.fixture
def damaged(tmp_path: Path) -> Path:
    """A file whose every tenth line of 200 has no text, beside one with one such line."""
    folder = tmp_path / "texts"
    folder.mkdir()
    lines = ['{"body": 1}' if n % 10 == 0 else json.dumps({"text": f"text {n} " * 60}) for n in range(200)]
    (folder / "many.jsonl").write_text("\n".join(lines) + "\n")
    (folder / "one.jsonl").write_text("\n".join(lines[:3]) + "\n")
    return folder


def test_more_bad_documents_in_a_file_than_allowed_are_one_error(
    make_inline: Any, small_config: MakeConfig, damaged: Path, tmp_path: Path
) -> None:
    for split_bytes in (2**20, 4096):  # the file in one unit, or cut into many that are within the budget
        config = small_config(damaged, max_errors=19, split_bytes=split_bytes)
        with pytest.raises(InputError) as raised:
            make_inline().build(config, tmp_path / str(split_bytes))
        message = str(raised.value)
        assert message.startswith(f"{damaged / 'many.jsonl'}: more than 19 bad documents (data.max_errors=19): ")
        assert message.count("many.jsonl:") == 1 + 3
        assert f"{damaged / 'many.jsonl'}:1: no field 'text'" in message
        assert f"{damaged / 'many.jsonl'}:21: no field 'text'" in message
        report = make_inline().build(small_config(damaged, max_errors=20, split_bytes=split_bytes), tmp_path / "enough")
        assert report.skipped == {"missing_field": 21}


def test_an_id_with_a_lone_surrogate_is_counted_and_quarantined(
    make_inline: Any, small_config: MakeConfig, tmp_path: Path
) -> None:
    path = tmp_path / "texts.jsonl"
    lines = [{"id": f"d{n}" if n != 7 else "d\ud800", "text": f"text {n} " * 60} for n in range(20)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    report = make_inline().build(small_config(path, id_field="id"), tmp_path / "out")
    assert report.skipped == {"undecodable": 1}
    assert sum(report.documents.values()) == 19
    [entry] = [json.loads(line) for line in (tmp_path / "out" / "quarantine.jsonl").read_text().splitlines()]
    assert entry["detail"] == "the id is not a Unicode text: lone surrogate U+D800 at character 1"


def test_the_quarantine_names_every_bad_input_in_the_order_of_the_corpus(
    make_inline: Any, small_config: MakeConfig, damaged: Path, dataset_files: Files, tmp_path: Path
) -> None:
    contents = []
    for name, split_bytes, order in (("a", 4096, 1), ("b", 4096, -1), ("c", 2**20, 1)):
        out = tmp_path / name
        make_inline(lambda tasks, order=order: tasks[::order]).build(
            small_config(damaged, split_bytes=split_bytes), out
        )
        contents.append((out / "quarantine.jsonl").read_bytes())
        assert audit_dataset(out).ok
    assert contents[0] == contents[1] == contents[2]
    entries = [json.loads(line) for line in contents[0].splitlines()]
    many = (damaged / "many.jsonl").read_bytes().splitlines(keepends=True)
    offsets = [sum(map(len, many[:n])) for n in range(0, 200, 10)]
    assert [(entry["path"], entry["offset"]) for entry in entries] == [
        *((str(damaged / "many.jsonl"), offset) for offset in offsets),
        (str(damaged / "one.jsonl"), 0),
    ]
    assert {(entry["stage"], entry["reason"]) for entry in entries} == {("read", "missing_field")}
    (damaged / "many.jsonl").write_text('{"text": "all is well"}\n')
    (damaged / "one.jsonl").unlink()
    make_inline().build(small_config(damaged), tmp_path / "a")
    assert not (tmp_path / "a" / "quarantine.jsonl").exists()


def test_dropped_documents_are_quarantined_when_asked_for_and_the_file_is_bounded(
    make_inline: Any, small_config: MakeConfig, damaged: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stages = [{"kind": "short", "chars": 430}]
    config = small_config(damaged, stages=stages, quarantine_dropped=True)
    make_inline().build(config, tmp_path / "out")
    entries = [json.loads(line) for line in (tmp_path / "out" / "quarantine.jsonl").read_text().splitlines()]
    dropped = [entry for entry in entries if entry["stage"] == "short"]
    assert dropped[0]["id"].startswith("many.jsonl:")
    assert dropped[0]["text"] == "text 1 " * 60
    assert dropped[0]["characters"] == 420
    assert len(dropped) == 9 + 2
    monkeypatch.setattr(quarantine, "MOST_ENTRIES", 5)
    make_inline().build(config, tmp_path / "bounded")
    bounded = [json.loads(line) for line in (tmp_path / "bounded" / "quarantine.jsonl").read_text().splitlines()]
    assert bounded == [*entries[:5], {"left_out": len(entries) - 5}]
