"""Preparations with stages: passes, reductions and finishes, with small real stages (`tiny_stages`)."""

import itertools
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from data_prep import plan
from data_prep.config import DataConfig
from data_prep.corpus import FIRST_GROUP
from data_prep.errors import InputError, SpanwrightError
from data_prep.shards import Dataset
from data_prep.tokenizer import Tokenizer

MakeConfig = Callable[..., DataConfig]
Files = Callable[[Path], dict[str, bytes]]

pytestmark = pytest.mark.usefixtures("tiny_stages")


def texts_of(out: Path, split: str) -> dict[str, str]:
    dataset = Dataset.open(out)
    tokenizer = Tokenizer.load(dataset.tokenizer_folder)
    shards = dataset.split(split)
    documents = [document for number in range(shards.num_chunks) for document in shards.chunk(number).documents()]
    return {document.id: tokenizer.decode(document.token_ids) for document in documents}


def all_texts(out: Path) -> dict[str, str]:
    return texts_of(out, "train") | texts_of(out, "heldout")


def summary_of(out: Path) -> dict[str, Any]:
    return Dataset.open(out).manifest.report["summary"]


def write_jsonl(path: Path, records: list[Any]) -> Path:
    path.write_text(
        "".join(json.dumps(record if isinstance(record, dict) else {"text": record}) + "\n" for record in records)
    )
    return path


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """240 texts: every fourth short, every fifth a copy (in capitals) of an earlier one, one empty, one no text."""
    texts: list[Any] = []
    for number in range(240):
        text = "tiny" if number % 4 == 3 else f"text number {number} of the corpus " * (1 + number % 30)
        texts.append(texts[number // 2].upper() if number % 5 == 4 and isinstance(texts[number // 2], str) else text)
    texts[10], texts[20] = "", 5
    return write_jsonl(tmp_path / "mixed.jsonl", texts)


STAGES: list[Any] = [{"kind": "short", "chars": 12}, "once", {"kind": "short", "chars": 40}]


def expected_texts(mixed: Path, least: int) -> list[str]:
    seen, kept = set[str](), list[str]()
    for line in mixed.read_text().splitlines():
        text = json.loads(line)["text"]
        if isinstance(text, str) and len(text) >= 12 and text.lower() not in seen:
            seen.add(text.lower())
            if len(text) >= least:
                kept.append(text)
    return kept


def test_stages_leave_what_they_say_and_their_counts_add_up(
    inline: Any, small_config: MakeConfig, mixed: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    report = inline.build(small_config(mixed, stages=STAGES, split_bytes=8192), out)
    assert sorted(all_texts(out).values()) == sorted(expected_texts(mixed, 40))
    summary = summary_of(out)
    stages = summary["stages"]
    assert [stage["stage"] for stage in stages] == ["read", "short", "once", "short"]
    for stage in stages:
        assert stage["documents_in"] == stage["documents"] + sum(row["documents"] for row in stage["dropped"].values())
    for before, after in itertools.pairwise(stages):
        assert (after["documents_in"], after["bytes_in"]) == (before["documents"], before["bytes"])
    assert stages[0]["documents_in"] == 240
    assert report.skipped == {"empty": 1, "wrong_type": 1}
    assert stages[-1]["documents"] == len(expected_texts(mixed, 40)) == sum(report.documents.values())
    copy = stages[2]["dropped"]["copy"]
    assert len(copy["examples"]) == 3
    assert copy["examples"][0].keys() == {"id", "detail", "excerpt"}
    assert max(len(example["excerpt"]) for example in copy["examples"]) <= 200
    assert summary["observed"] == [{"stage": "once", "counts": {"documents": stages[1]["documents"]}}]
    assert [row["counts"] for row in summary["reductions"]] == [{"copies": copy["documents"]}] * 2
    assert sum(summary["documents"]["lengths"].values()) == stages[-1]["documents"]
    assert summary["documents"]["sources"] == {"mixed.jsonl": [stages[-1]["documents"], stages[-1]["bytes"]]}
    assert summary["tokens"][""][:3] == [stages[-1]["documents"], report.text_bytes, report.text_bytes]
    assert any(note.startswith("once dropped") for note in report.notes)


def test_units_parts_and_task_order_change_nothing_that_survives(
    make_inline: Any,
    small_config: MakeConfig,
    mixed: Path,
    dataset_files: Files,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    make_inline().build(small_config(mixed, stages=STAGES, split_bytes=8192), tmp_path / "a")
    make_inline().build(small_config(mixed, stages=STAGES, split_bytes=30_000), tmp_path / "b")
    assert all_texts(tmp_path / "a") == all_texts(tmp_path / "b")
    assert texts_of(tmp_path / "a", "heldout") == texts_of(tmp_path / "b", "heldout")
    first, second = summary_of(tmp_path / "a"), summary_of(tmp_path / "b")
    assert first == second
    monkeypatch.setattr(plan, "PART_BYTES", 512)
    backward = make_inline(lambda tasks: tasks[::-1])
    backward.build(small_config(mixed, stages=STAGES, split_bytes=8192), tmp_path / "c")
    assert backward.ran.count("once-copies") > 3
    assert dataset_files(tmp_path / "a") == dataset_files(tmp_path / "c")


def test_the_order_of_stages_matters(make_inline: Any, small_config: MakeConfig, tmp_path: Path) -> None:
    path, suffix = write_jsonl(tmp_path / "a.jsonl", ["short", "a longer text", "another one"]), tmp_path / "suffix"
    suffix.write_text(" and so on")
    stages = [{"kind": "short", "chars": 10}, {"kind": "suffix", "path": str(suffix)}]
    make_inline().build(small_config(path, stages=stages), tmp_path / "dropped_first")
    make_inline().build(small_config(path, stages=stages[::-1]), tmp_path / "appended_first")
    assert sorted(all_texts(tmp_path / "dropped_first").values()) == [
        "a longer text and so on",
        "another one and so on",
    ]
    assert len(all_texts(tmp_path / "appended_first")) == 3


def test_a_rerun_does_nothing_and_a_changed_stage_runs_only_what_follows_it(
    make_inline: Any, small_config: MakeConfig, mixed: Path, dataset_files: Files, tmp_path: Path
) -> None:
    out = tmp_path / "out"

    def ran(**changes: Any) -> list[str]:
        inline = make_inline()
        inline.build(small_config(mixed, **{"stages": STAGES, "split_bytes": 8192, **changes}), out)
        return list(dict.fromkeys(inline.ran))

    everything = ["read", "once-copies", "once-join", "pass-2", "sample", "train", "tokenize"]
    assert ran() == everything
    assert ran() == []
    last_changed = [*STAGES[:2], {"kind": "short", "chars": 60}]
    assert ran(stages=last_changed) == ["pass-2", "sample", "train", "tokenize"]
    bpe = {"kind": "bpe", "vocab_size": 700, "sample_bytes": 65536}
    assert ran(stages=last_changed, tokenizer=bpe) == ["train", "tokenize"]
    before = dataset_files(out)
    os.utime(mixed, ns=(1, 1))
    assert ran(stages=last_changed, tokenizer=bpe) == ["read"]
    assert dataset_files(out) == before


def test_evaluation_texts_count_by_their_content(make_inline: Any, small_config: MakeConfig, tmp_path: Path) -> None:
    path, suffix = write_jsonl(tmp_path / "a.jsonl", ["one text", "another text"]), tmp_path / "suffix"
    config = small_config(path, stages=[{"kind": "suffix", "path": str(suffix)}])
    suffix.write_text(" A")
    make_inline().build(config, tmp_path / "out")
    os.utime(suffix, ns=(1, 1))
    assert make_inline().build(config, tmp_path / "out").did_nothing
    suffix.write_text(" B")
    make_inline().build(config, tmp_path / "out")
    assert set(all_texts(tmp_path / "out").values()) == {"one text B", "another text B"}


def test_a_stage_that_loses_documents_is_named(inline: Any, small_config: MakeConfig, tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "a.jsonl", ["one text", "another text", "a third"])
    with pytest.raises(SpanwrightError, match="stage lossy: 3 documents went in, 1 came out and 0 were dropped"):
        inline.build(small_config(path, stages=["lossy"]), tmp_path / "out")


def test_everything_dropped_is_refused_with_the_reasons(inline: Any, small_config: MakeConfig, tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "a.jsonl", ["one text", "", "a third"])
    with pytest.raises(
        InputError, match=r"no documents \(1 left out as empty: .*; short dropped 2 of 2 .*: 2 too short"
    ):
        inline.build(small_config(path, stages=[{"kind": "short", "chars": 99}]), tmp_path / "out")


def test_max_documents_counts_what_the_stages_leave(
    make_inline: Any, small_config: MakeConfig, mixed: Path, tmp_path: Path
) -> None:
    for stages, least in ((STAGES, 40), (STAGES[:2], 12)):
        inline = make_inline()
        out = tmp_path / str(least)
        report = inline.build(small_config(mixed, stages=stages, split_bytes=8192, max_documents=23), out)
        assert sum(report.documents.values()) == 23
        assert sorted(all_texts(out).values()) == sorted(expected_texts(mixed, least)[:23])


def test_what_was_left_out_before_the_limit_is_told(inline: Any, small_config: MakeConfig, tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "a.jsonl", ["", 5] * 300)
    with pytest.raises(InputError, match=r"no documents \(300 left out as empty: .*; 300 left out as wrong type: "):
        inline.build(small_config(path, max_documents=5), tmp_path / "out")


def test_a_small_max_documents_does_not_pass_the_whole_corpus(
    inline: Any, small_config: MakeConfig, tmp_path: Path
) -> None:
    path = write_jsonl(tmp_path / "a.jsonl", [f"text number {n} " * 300 for n in range(300)])
    inline.build(small_config(path, stages=[{"kind": "short", "chars": 5}], max_documents=20), tmp_path / "out")
    assert path.stat().st_size > 20 * small_config(path).split_bytes
    assert inline.ran.count("read") <= FIRST_GROUP + 1
    assert inline.ran.count("tokenize") == 2


def test_pairs_stand_on_one_side(inline: Any, small_config: MakeConfig, tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "a.jsonl", [{"de": f"Satz {n}", "en": f"sentence {n}"} for n in range(80)])
    parallel = {"languages": ["de", "en"], "align": "field"}
    inline.build(small_config(path, heldout_fraction=0.3, parallel=parallel), tmp_path / "out")
    train, heldout = texts_of(tmp_path / "out", "train"), texts_of(tmp_path / "out", "heldout")
    assert len(train) + len(heldout) == 160
    numbers = [{text.split()[-1] for text in texts.values()} for texts in (train, heldout)]
    assert numbers[1]
    assert not numbers[0] & numbers[1]
    languages = summary_of(tmp_path / "out")["documents"]["languages"]
    assert {name: row[0] for name, row in languages.items()} == {"de": 80, "en": 80}


def test_finishes_write_the_final_shards(
    make_inline: Any, small_config: MakeConfig, mixed: Path, dataset_files: Files, tmp_path: Path
) -> None:
    config = small_config(
        mixed, stages=[*STAGES, {"kind": "select", "per": 40}], columns={"weight": "idf"}, split_bytes=8192
    )
    inline, out = make_inline(), tmp_path / "out"
    report = inline.build(config, out)
    plain = make_inline().build(small_config(mixed, stages=STAGES, split_bytes=8192), tmp_path / "plain")
    copies = 1 + plain.documents["train"] // 40
    assert copies > 2
    assert report.documents == {"train": copies * plain.documents["train"], "heldout": plain.documents["heldout"]}
    assert list(dict.fromkeys(inline.ran))[-5:] == [
        "tokenize",
        "weight-pairs",
        "weight-weights",
        "select-sum",
        "finish",
    ]
    dataset = Dataset.open(out)
    assert dataset.manifest.columns["weight"].per == "token"
    chunk = dataset.split("train").chunk(0)
    assert len(chunk.column("weight")) == len(chunk.tokens)
    assert dataset.manifest.splits["train"][0].windows
    assert make_inline().build(config, out).did_nothing
    backward = make_inline(lambda tasks: tasks[::-1])
    backward.build(config, tmp_path / "again")
    assert dataset_files(out) == dataset_files(tmp_path / "again")
    changed, stages = make_inline(), [*STAGES, {"kind": "select", "per": 10_000}]
    report = changed.build(small_config(mixed, stages=stages, columns={"weight": "idf"}, split_bytes=8192), out)
    assert list(dict.fromkeys(changed.ran)) == ["select-sum", "finish"]
    assert report.documents == plain.documents


RUN = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[3])
from data_prep.build import Build
from data_prep.config import DataConfig
from data_prep.calls import execute
from data_prep.finish import FINISHES
from data_prep.progress import NoProgress
from data_prep.stages import STAGES
STAGES.update({kind: f"tiny_{kind}" for kind in ("short", "suffix", "once")})
FINISHES["select"] = "tiny_select"
def run_tasks(function, tasks, work, on_done):
    for task in tasks:
        on_done(task, execute(function, task, work.root))
Build(DataConfig.model_validate_json(sys.argv[1]), Path(sys.argv[2]), run_tasks, NoProgress()).run()
"""


@pytest.mark.parametrize(("at", "left"), [("join", "once-join"), ("finish", "finish")])
def test_a_kill_in_a_reduction_or_a_finish_is_continued(
    at: str,
    left: str,
    make_inline: Any,
    small_config: MakeConfig,
    mixed: Path,
    dataset_files: Files,
    tiny_stages: Path,
    tmp_path: Path,
) -> None:
    config = small_config(mixed, stages=[*STAGES, "select"], split_bytes=8192)
    out = tmp_path / "out"
    out.mkdir()
    command = [sys.executable, "-c", RUN, config.model_dump_json(), str(out), str(tiny_stages)]
    killed = subprocess.run(command, env={**os.environ, "TINY_KILL": at}, timeout=300)
    assert killed.returncode == -signal.SIGKILL
    assert not (out / "manifest.json").exists()
    inline = make_inline()
    inline.build(config, out)
    assert inline.ran[0] == left
    assert "read" not in inline.ran
    make_inline().build(config, tmp_path / "fresh")
    assert dataset_files(out) == dataset_files(tmp_path / "fresh")
    assert not list((out / ".work").rglob(".*.tmp"))


@pytest.mark.parametrize("name", ["documents.blocks", "train.blocks", "observed/keys.npy", "result/copies.npy"])
def test_a_damaged_intermediate_result_is_made_again(
    name: str, make_inline: Any, small_config: MakeConfig, mixed: Path, dataset_files: Files, tmp_path: Path
) -> None:
    config, out = small_config(mixed, stages=[*STAGES, "select"], split_bytes=8192), tmp_path / "out"
    make_inline().build(config, out)
    before = dataset_files(out)
    [damaged, *_] = sorted((out / ".work").glob(f"*/{name}"))
    data = bytearray(damaged.read_bytes())
    data[len(data) // 2] ^= 1
    damaged.write_bytes(data)
    (out / "manifest.json").unlink()
    inline = make_inline()
    inline.build(config, out)
    assert len(inline.ran) == 1
    assert dataset_files(out) == before
