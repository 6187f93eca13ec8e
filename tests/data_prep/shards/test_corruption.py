"""Nothing damaged is ever read: every truncation, bit flip, stray, missing or swapped file is refused by its name."""

import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from data_prep.errors import CorruptionError, InputError
from data_prep.shards import Dataset, audit_dataset, canonical

FILES = ["manifest.json", "tokenizer/tokenizer.model", "shard-00001.tar", "shard-00001.index", "shard-00003.tar"]


def assert_refused(folder: Path, damaged: Path, touch_all: Callable[[Path], list]) -> None:
    """Both the reader and the audit refuse, and name the file that is damaged."""
    with pytest.raises(CorruptionError) as refusal:
        touch_all(folder)
    assert str(damaged) in str(refusal.value)
    problems = audit_dataset(folder).problems
    assert any(str(damaged) in problem for problem in problems)


def test_a_whole_dataset_is_read_and_audited_without_a_problem(dataset, touch_all):
    report = audit_dataset(dataset)
    assert (report.problems, report.ok, report.num_shards) == ([], True, 4)
    assert report.num_bytes == sum(path.stat().st_size for path in dataset.glob("*.tar"))
    chunks = touch_all(dataset)
    assert sum(len(ids) for ids, _ in chunks) == 240


def assert_flips_refused(folder: Path, name: str, count: int, touch_all: Callable[[Path], list]) -> None:
    """`count` random single bits of a file, one after another; then the whole file again."""
    path, rng = folder / name, random.Random(name)
    whole = path.read_bytes()
    for _ in range(count):
        flipped = bytearray(whole)
        flipped[rng.randrange(len(whole))] ^= 1 << rng.randrange(8)
        path.write_bytes(flipped)
        assert path.read_bytes() != whole
        assert_refused(folder, path, touch_all)
    path.write_bytes(whole)
    assert touch_all(folder)


def assert_truncations_refused(folder: Path, name: str, count: int, touch_all: Callable[[Path], list]) -> None:
    """`count` lengths of a file, none of them its own; the empty file and the one without its last byte are there."""
    path, rng = folder / name, random.Random(name)
    whole = path.read_bytes()
    for length in [0, len(whole) - 1, *(rng.randrange(len(whole)) for _ in range(count - 2))]:
        path.write_bytes(whole[:length])
        assert path.stat().st_size < len(whole)
        assert_refused(folder, path, touch_all)


@pytest.mark.parametrize("name", FILES)
def test_every_bit_flip_is_refused_by_name(dataset, touch_all, name):
    assert_flips_refused(dataset, name, 60, touch_all)


@pytest.mark.parametrize("name", FILES)
def test_every_truncation_is_refused_by_name(dataset, touch_all, name):
    assert_truncations_refused(dataset, name, 40, touch_all)


@pytest.mark.long
@pytest.mark.parametrize("name", FILES)
def test_2000_bit_flips_are_refused_by_name(dataset, touch_all, name):
    assert_flips_refused(dataset, name, 2000 // len(FILES), touch_all)


@pytest.mark.long
@pytest.mark.parametrize("name", FILES)
def test_2000_truncations_are_refused_by_name(dataset, touch_all, name):
    assert_truncations_refused(dataset, name, 2000 // len(FILES), touch_all)


@pytest.mark.parametrize("member", ["tokens", "docs", "ids", "lang", "spans", "spans_docs", "words"])
def test_a_bit_flip_in_any_member_is_refused_by_its_name(dataset, touch_all, member):
    path = dataset / "shard-00001.tar"
    whole = path.read_bytes()
    entries = Dataset.open(dataset).split("train")._shard(1).index.chunks[1].members
    [entry] = [entry for entry in entries if entry.name.split(".")[1] == member]
    for place in (entry.offset, entry.offset + entry.length // 2, entry.offset + entry.length - 1):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        assert_refused(dataset, path, touch_all)
        with pytest.raises(CorruptionError, match=f"member {entry.name}: "):
            touch_all(dataset)


@pytest.mark.parametrize("name", FILES)
def test_bytes_added_at_the_end_are_refused_by_name(dataset, touch_all, name):
    with open(dataset / name, "ab") as file:
        file.write(bytes(10240))
    assert_refused(dataset, dataset / name, touch_all)


@pytest.mark.parametrize("block", [0, 512, 1024, 5120])
def test_a_zeroed_block_is_refused_by_name(dataset, touch_all, block):
    path = dataset / "shard-00000.tar"
    data = path.read_bytes()
    assert any(data[block : block + 512])
    path.write_bytes(data[:block] + bytes(512) + data[block + 512 :])
    assert_refused(dataset, path, touch_all)


@pytest.mark.parametrize("name", FILES[1:])
def test_a_missing_file_is_refused_by_name(dataset, touch_all, name):
    (dataset / name).unlink()
    assert_refused(dataset, dataset / name, touch_all)


@pytest.mark.parametrize("name", ["shard-00009.tar", "shard-00009.index", "tokenizer/extra.model"])
def test_an_extra_file_is_refused_by_name(dataset, touch_all, name):
    (dataset / name).write_bytes(b"")
    assert_refused(dataset, dataset / name, touch_all)


@pytest.mark.parametrize("name", FILES)
def test_a_link_is_refused_by_name_even_to_the_right_bytes(dataset, tmp_path, touch_all, name):
    shutil.move(dataset / name, tmp_path / "elsewhere")
    (dataset / name).symlink_to(tmp_path / "elsewhere")
    assert_refused(dataset, dataset / name, touch_all)


def test_a_linked_tokenizer_folder_is_refused(dataset, tmp_path, touch_all):
    shutil.move(dataset / "tokenizer", tmp_path / "elsewhere")
    (dataset / "tokenizer").symlink_to(tmp_path / "elsewhere")
    assert_refused(dataset, dataset / "tokenizer", touch_all)


def test_a_pipe_in_place_of_a_shard_is_refused_and_not_waited_for(dataset, touch_all):
    (dataset / "shard-00000.index").unlink()
    os.mkfifo(dataset / "shard-00000.index")
    assert_refused(dataset, dataset / "shard-00000.index", touch_all)


@pytest.mark.parametrize("suffix", [".tar", ".index"])
def test_swapped_shards_are_refused(dataset, touch_all, suffix):
    one, two = dataset / f"shard-00000{suffix}", dataset / f"shard-00001{suffix}"
    first, second = one.read_bytes(), two.read_bytes()
    assert first != second
    one.write_bytes(second)
    two.write_bytes(first)
    assert_refused(dataset, one, touch_all)


def test_damage_is_found_when_its_chunk_is_first_touched_and_not_before(dataset):
    split = Dataset.open(dataset).split("train")
    last = split.num_chunks - 1
    path = dataset / "shard-00002.tar"
    data = bytearray(path.read_bytes())
    member = next(m for m in split._shard(2).index.chunks[-1].members if m.name.endswith("tokens.npy"))
    data[member.offset + member.length - 1] ^= 4
    path.write_bytes(data)
    assert len(split.chunk(last - 1).tokens)
    assert split.chunk(last).ids
    with pytest.raises(CorruptionError, match=rf"shard-00002\.tar: member {member.name}: changed"):
        _ = split.chunk(last).tokens


def test_no_dataset_is_a_wrong_input_that_says_how_to_make_one(tmp_path):
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(InputError, match=r"no dataset here \(no manifest.json\); make one with `spanwright prep"):
            Dataset.open(folder)


def test_an_unknown_split_is_a_wrong_input_that_lists_the_splits(dataset):
    with pytest.raises(InputError, match="no split 'test'; it has heldout, train"):
        Dataset.open(dataset).split("test")


def rewrite_manifest(folder: Path, change: Callable[[dict], None]) -> None:
    """A manifest that someone changed with care: its own digest is right again."""
    path = folder / "manifest.json"
    content = canonical.decode_sealed(path.read_bytes())
    change(content)
    path.write_bytes(canonical.encode_sealed(content))


def set_shard_name(name: str) -> Callable[[dict], None]:
    return lambda content: content["splits"]["train"][0].update(name=name)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (set_shard_name("../dataset/shard-00000"), "is not a plain name"),
        (set_shard_name("/etc/passwd"), "is not a plain name"),
        (set_shard_name(".."), "is not a plain name"),
        (set_shard_name("shard-00001"), "a shard is listed twice"),
        (lambda content: content["tokenizer"].update(path="../tokenizer"), "is not a plain name"),
        (lambda content: content["tokenizer"]["files"].update({"../x": {"size": 0, "sha256": "0" * 64}}), "plain file"),
        (lambda content: content["columns"].update({"../x": {"dtype": "int8", "per": "token"}}), "not a column name"),
        (lambda content: content.update(format_version=2), "format version 2; this version of Spanwright reads 1"),
        (lambda content: content.update(surprise=1), "surprise: Extra inputs are not permitted"),
        (lambda content: content.pop("dtype"), "dtype: Field required"),
        (lambda content: content["totals"].update(tokens=7), "totals is not the sum"),
        (lambda content: content.update(fingerprint="0" * 64), "fingerprint is not that of the listed shards"),
        (lambda content: content["splits"]["train"].reverse(), "fingerprint is not that of the listed shards"),
        (lambda content: content.update(dtype="uint32"), "does not fit a vocabulary of 3000"),
        (lambda content: content["splits"]["train"][0].update(tokens="7"), "valid integer"),
    ],
)
def test_a_manifest_changed_with_care_is_still_refused_by_name(dataset, change, problem):
    rewrite_manifest(dataset, change)
    with pytest.raises(CorruptionError, match=problem) as refusal:
        Dataset.open(dataset)
    assert str(dataset / "manifest.json") in str(refusal.value)


def test_a_vocabulary_smaller_than_the_token_ids_is_refused(dataset, touch_all):
    rewrite_manifest(dataset, lambda content: content["tokenizer"].update(vocab_size=1000))
    with pytest.raises(
        CorruptionError, match=r"member .*tokens.npy: token id \d+ is outside the tokenizer's vocabulary"
    ):
        touch_all(dataset)


@pytest.mark.parametrize(
    "text", [b"", b"[]", b"{}", b"null", b"[" * 100_000, b'{"sha256": NaN}', "é".encode(), b"1" * 9999]
)
def test_a_manifest_that_is_something_else_is_refused_by_name(dataset, touch_all, text):
    (dataset / "manifest.json").write_bytes(text)
    assert_refused(dataset, dataset / "manifest.json", touch_all)
