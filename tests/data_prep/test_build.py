"""The stages, with tasks run in this process: what is built, what is built again, and what is refused."""

import errno
import json
import os
import re
import resource
import signal
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from data_prep.config import DataConfig
from data_prep.errors import CorruptionError, InputError, SpanwrightError
from data_prep.shards import Dataset
from data_prep.tasks.train import SAMPLE_NAME
from data_prep.tokenizer import Tokenizer
from data_prep.work import WorkFolder

MakeConfig = Callable[..., DataConfig]
Files = Callable[[Path], dict[str, bytes]]


def texts_of(out: Path, split: str) -> dict[str, str]:
    dataset = Dataset.open(out)
    tokenizer = Tokenizer.load(dataset.tokenizer_folder)
    texts: dict[str, str] = {}
    shards = dataset.split(split)
    for number in range(shards.num_chunks):
        chunk = shards.chunk(number)
        for index, name in enumerate(chunk.ids):
            texts[name] = tokenizer.decode(chunk.tokens[chunk.docs[index] : chunk.docs[index + 1]])
    return texts


def write_jsonl(path: Path, texts: list[Any]) -> Path:
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return path


def test_every_document_is_in_the_dataset_once_and_unchanged(
    inline: Any, corpus: Path, small_config: MakeConfig, tmp_path: Path
) -> None:
    report = inline.build(small_config(corpus), tmp_path / "out")
    train, heldout = texts_of(tmp_path / "out", "train"), texts_of(tmp_path / "out", "heldout")
    written = {path.relative_to(corpus).as_posix(): path.read_text("utf-8") for path in sorted(corpus.rglob("*.py"))}
    empty = [name for name, text in written.items() if not text.strip()]
    assert empty
    assert train | heldout == {name: text for name, text in written.items() if name not in empty}
    assert not train.keys() & heldout.keys()
    assert report.documents == {"train": len(train), "heldout": len(heldout)}
    assert report.skipped == {"empty": len(empty)}
    assert report.examples["empty"].startswith(f"{corpus / empty[0]}:1: ")
    assert 0 < len(heldout) < len(train) / 3
    assert report.text_bytes == sum(len(text.encode()) for text in written.values())


def test_a_rerun_does_nothing(
    inline: Any, corpus: Path, small_config: MakeConfig, dataset_files: Files, tmp_path: Path
) -> None:
    first = inline.build(small_config(corpus), tmp_path / "out")
    before, ran = dataset_files(tmp_path / "out"), len(inline.ran)
    again = inline.build(small_config(corpus, workers=7), tmp_path / "out")
    assert again.did_nothing
    assert not first.did_nothing
    assert (again.fingerprint, again.documents, again.notes) == (first.fingerprint, first.documents, first.notes)
    assert len(inline.ran) == ran
    assert dataset_files(tmp_path / "out") == before


def test_any_task_order_gives_the_same_bytes(
    make_inline: Any, corpus: Path, small_config: MakeConfig, dataset_files: Files, tmp_path: Path
) -> None:
    forward, backward = make_inline(), make_inline(lambda tasks: tasks[::-1])
    forward.build(small_config(corpus), tmp_path / "forward")
    backward.build(small_config(corpus), tmp_path / "backward")
    assert Counter(forward.ran)["tokenize"] > 4
    assert dataset_files(tmp_path / "forward") == dataset_files(tmp_path / "backward")


CHANGES: list[tuple[dict[str, Any], set[str]]] = [
    ({"name": "other"}, set()),
    ({"shards": {"window_sizes": [64]}}, {"tokenize"}),
    ({"heldout_fraction": 0.3}, {"sample", "train", "tokenize"}),
    ({"tokenizer": {"vocab_size": 700, "sample_bytes": 65536}}, {"train", "tokenize"}),
    ({"bad_documents": "error", "exclude": ["__init__.py"]}, {"read", "sample", "train", "tokenize"}),
]


@pytest.mark.parametrize(("change", "expected"), CHANGES, ids=lambda value: str(sorted(value))[:40])
def test_a_changed_config_rebuilds_only_what_it_must(
    change: dict[str, Any],
    expected: set[str],
    make_inline: Any,
    corpus: Path,
    small_config: MakeConfig,
    dataset_files: Files,
    tmp_path: Path,
) -> None:
    make_inline().build(small_config(corpus), tmp_path / "out")
    changed, fresh = make_inline(), make_inline()
    report = changed.build(small_config(corpus, **change), tmp_path / "out")
    assert not report.did_nothing
    assert set(changed.ran) == expected
    fresh.build(small_config(corpus, **change), tmp_path / "fresh")
    assert dataset_files(tmp_path / "out") == dataset_files(tmp_path / "fresh")


def test_an_added_file_is_the_only_one_read(
    make_inline: Any, small_config: MakeConfig, dataset_files: Files, tmp_path: Path
) -> None:
    texts = tmp_path / "texts"
    texts.mkdir()
    for number in range(8):
        (texts / f"{number}.txt").write_text(f"text {number} " * 4000)
    own = tmp_path / "own.model"
    make_inline().build(small_config(texts), tmp_path / "first")
    own.write_bytes((tmp_path / "first" / "tokenizer" / "spiece.model").read_bytes())
    config = small_config(texts, tokenizer={"path": str(own)}, split_bytes=40_000)
    make_inline().build(config, tmp_path / "out")
    (texts / "9.txt").write_text("new text " * 4000)
    changed = make_inline()
    changed.build(config, tmp_path / "out")
    assert changed.ran == ["read", "tokenize"]
    make_inline().build(config, tmp_path / "fresh")
    assert dataset_files(tmp_path / "out") == dataset_files(tmp_path / "fresh")


def test_a_corpus_that_moved_is_not_tokenized_again(make_inline: Any, small_config: MakeConfig, tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "a.jsonl", ["one text", "another text", "a third"])
    first = make_inline().build(small_config(path), tmp_path / "out")
    (tmp_path / "moved").mkdir()
    moved = path.rename(tmp_path / "moved" / "a.jsonl")
    inline = make_inline()
    assert inline.build(small_config(moved), tmp_path / "out").fingerprint == first.fingerprint
    assert inline.ran == []


@pytest.mark.parametrize("damage", ["truncate", "flip", "remove"])
def test_a_damaged_result_is_made_again(
    damage: str, make_inline: Any, corpus: Path, small_config: MakeConfig, dataset_files: Files, tmp_path: Path
) -> None:
    config, out = small_config(corpus), tmp_path / "out"
    make_inline().build(config, out)
    before = dataset_files(out)
    tar = out / "shard-00001.tar"
    data = bytearray(tar.read_bytes())
    if damage == "remove":
        tar.unlink()
    else:
        data[len(data) // 2] ^= 4
        tar.write_bytes(data if damage == "flip" else data[: len(data) // 2])
    assert dataset_files(out) != before
    (out / "manifest.json").unlink()
    inline = make_inline()
    inline.build(config, out)
    assert inline.ran == ([] if damage == "remove" else ["tokenize"])  # removed: the work folder has another link
    assert dataset_files(out) == before


def test_the_training_sample_has_the_asked_size_and_is_spread_over_the_corpus(
    make_inline: Any, small_config: MakeConfig, tmp_path: Path
) -> None:
    texts = [f"document {n} of many words " * 1200 for n in range(60)]
    huge = write_jsonl(tmp_path / "a.jsonl", ["".join(texts), *texts])
    sizes = dict[str, int]()

    class Recorder(make_inline):
        def __call__(self, function: Any, tasks: Any, work: WorkFolder, on_done: Any) -> None:
            super().__call__(function, tasks, work, on_done)
            for task in tasks:
                if task.kind == "sample":
                    sizes[task.id] = work.record(task.id)["text_bytes"]  # type: ignore[index]

    Recorder().build(small_config(huge, tokenizer={"vocab_size": 600, "sample_bytes": 600_000}), tmp_path / "out")
    assert 450_000 < sum(sizes.values()) < 750_000
    assert sum(size > 0 for size in sizes.values()) > 25
    assert 250_000 < max(sizes.values()) < 450_000  # the one huge document is half of the corpus


def test_the_tokenizer_is_trained_without_held_out_text(
    make_inline: Any, small_config: MakeConfig, tmp_path: Path
) -> None:
    texts = [f"document{n} " * 300 for n in range(40)]
    sampled = list[str]()

    class Recorder(make_inline):
        def __call__(self, function: Any, tasks: Any, work: WorkFolder, on_done: Any) -> None:
            super().__call__(function, tasks, work, on_done)
            for task in tasks:
                if task.kind == "sample":
                    lines = (work.folder(task.id) / SAMPLE_NAME).read_text().splitlines()
                    sampled.extend(json.loads(line).split()[0] for line in lines)

    whole = {"vocab_size": 600, "sample_bytes": 10**6}
    config = small_config(write_jsonl(tmp_path / "a.jsonl", texts), heldout_fraction=0.3, tokenizer=whole)
    Recorder().build(config, tmp_path / "out")
    out = tmp_path / "out"
    found = {split: {text.split()[0] for text in texts_of(out, split).values()} for split in ("train", "heldout")}
    assert found["heldout"]
    assert set(sampled) == found["train"]


def test_max_documents_takes_the_first_ones(make_inline: Any, small_config: MakeConfig, tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "a.jsonl", [f"text number {n} " * 300 for n in range(100)])
    config = small_config(path, max_documents=37)
    report = make_inline().build(config, tmp_path / "out")
    found = texts_of(tmp_path / "out", "train") | texts_of(tmp_path / "out", "heldout")
    assert sum(report.documents.values()) == 37
    assert sorted(found.values()) == sorted(f"text number {n} " * 300 for n in range(37))


@pytest.mark.parametrize("count", [2, 3, 10])
def test_a_tiny_corpus_has_a_document_on_each_side(
    count: int, inline: Any, small_config: MakeConfig, tmp_path: Path
) -> None:
    path = write_jsonl(tmp_path / "a.jsonl", [f"text {n}" for n in range(count)])
    report = inline.build(small_config(path, heldout_fraction=0.001), tmp_path / "out")
    assert report.documents == {"train": count - 1, "heldout": 1}
    assert any("vocabulary" in note for note in report.notes)


def test_copies_of_a_document_stay_on_one_side(inline: Any, small_config: MakeConfig, tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "a.jsonl", ["same"] * 5)
    report = inline.build(small_config(path), tmp_path / "out")
    assert report.documents == {"train": 5, "heldout": 0}
    assert any("no document is held out" in note for note in report.notes)


def test_bad_documents_are_counted_or_an_error_as_the_config_says(
    make_inline: Any, small_config: MakeConfig, tmp_path: Path
) -> None:
    path = write_jsonl(tmp_path / "a.jsonl", ["one", 2, "three", "", None])
    path.write_bytes(path.read_bytes() + b'{"text": "\xff"}\n{"body": 1}\n')
    report = make_inline().build(small_config(path), tmp_path / "out")
    assert report.skipped == {"wrong_type": 2, "empty": 1, "undecodable": 1, "missing_field": 1}
    assert report.examples["missing_field"].startswith(f"{path}:7: no field 'text'")
    assert [note for note in report.notes if "left out" in note] == [
        f"1 left out as empty: {path}:4: the document is empty",
        f"1 left out as missing field: {path}:7: no field 'text' (it has: body); set data.text_field",
        f"1 left out as undecodable: {path}:6: byte 0xff is not valid utf-8",
        f"2 left out as wrong type: first {path}:2: field 'text' is a number, expected a string; set data.text_field",
    ]
    with pytest.raises(InputError, match=r"a\.jsonl:2: field 'text' is a number, expected a string"):
        make_inline().build(small_config(path, bad_documents="error"), tmp_path / "strict")
    assert not (tmp_path / "strict" / "manifest.json").exists()


def test_a_corpus_without_documents_is_refused_with_the_reason(
    make_inline: Any, small_config: MakeConfig, tmp_path: Path
) -> None:
    path = write_jsonl(tmp_path / "a.jsonl", ["", " "])
    with pytest.raises(
        InputError, match=r"a\.jsonl: no documents \(2 left out as empty: first .*a\.jsonl:1: the document"
    ):
        make_inline().build(small_config(path), tmp_path / "out")
    (tmp_path / "empty.txt").write_text("")
    with pytest.raises(InputError, match=r"empty\.txt: no documents: there is only white space in it"):
        make_inline().build(small_config(tmp_path / "empty.txt", document="line"), tmp_path / "out")


def test_two_preparations_into_one_folder_are_refused(
    inline: Any, corpus: Path, small_config: MakeConfig, tmp_path: Path
) -> None:
    (tmp_path / "out").mkdir()
    with (
        WorkFolder(tmp_path / "out" / ".work").locked(),
        pytest.raises(InputError, match="another preparation is writing here"),
    ):
        inline.build(small_config(corpus), tmp_path / "out")


def test_a_users_tar_in_the_folder_is_refused_and_left_alone(
    inline: Any, corpus: Path, small_config: MakeConfig, tmp_path: Path
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.tar").write_bytes(b"mine")
    with pytest.raises(CorruptionError, match=r"mine\.tar: extra"):
        inline.build(small_config(corpus), tmp_path / "out")
    assert (tmp_path / "out" / "mine.tar").read_bytes() == b"mine"


@pytest.mark.parametrize("lost", [r"tokenize-\w+/\w+\.tar", r"out/shard-\d+\.tar", r"out/shard-\d+\.index"])
def test_what_a_write_that_fails_late_should_have_brought_to_the_disk_is_made_again(
    lost: str,
    make_inline: Any,
    corpus: Path,
    small_config: MakeConfig,
    dataset_files: Files,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    flush, once = os.fsync, threading.Lock()  # files are flushed in threads

    def fail_once(descriptor: int) -> None:
        path = os.readlink(f"/proc/self/fd/{descriptor}")
        if re.search(f"{lost}$", path) and once.acquire(blocking=False):
            raise OSError(errno.EIO, "Input/output error")
        flush(descriptor)

    monkeypatch.setattr(os, "fsync", fail_once)
    config, again = small_config(corpus), make_inline()
    with pytest.raises(SpanwrightError, match=rf"{lost}: cannot write it: Input/output error"):
        make_inline().build(config, tmp_path / "out")
    assert not (tmp_path / "out" / "manifest.json").exists()
    again.build(config, tmp_path / "out")
    assert again.ran == ["tokenize"]  # whose file looks whole in memory, and is not on the disk
    make_inline().build(config, tmp_path / "fresh")
    assert dataset_files(tmp_path / "out") == dataset_files(tmp_path / "fresh")


def test_a_full_disk_is_one_message_and_the_next_run_continues(
    make_inline: Any, corpus: Path, small_config: MakeConfig, dataset_files: Files, tmp_path: Path
) -> None:
    config = small_config(
        corpus, tokenizer={"kind": "byte"}
    )  # two bytes for each of a text: tars are the largest files
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    inline = make_inline()
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (120_000, before[1]))
    try:
        with pytest.raises(SpanwrightError, match="cannot write it: File too large"):
            inline.build(config, tmp_path / "out")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)
    assert {"read", "sample", "train"} <= set(inline.ran)
    assert inline.ran.count("tokenize") < inline.ran.count("read")
    again, fresh = make_inline(), make_inline()
    again.build(config, tmp_path / "out")
    assert again.ran == ["tokenize"] * (inline.ran.count("read") - inline.ran.count("tokenize"))
    fresh.build(config, tmp_path / "fresh")
    assert dataset_files(tmp_path / "out") == dataset_files(tmp_path / "fresh")
