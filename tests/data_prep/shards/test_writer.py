import hashlib
import io
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import webdataset

from data_prep.errors import CorruptionError, SpanwrightError
from data_prep.shards import (
    Chunk,
    Column,
    Dataset,
    ShardWriter,
    build_chunks,
    build_manifest,
    describe_tokenizer,
    link_shard,
    write_manifest,
    write_shard,
)
from data_prep.shards.files import named_errors

SMALL = [("a", np.array([1, 2, 3])), ("b/ü", np.array([], np.int64)), ("c", np.array([65535, 0]))]
# The digests of the tar and the index of SMALL. They may only change together with FORMAT_VERSION.
GOLDEN_TAR = "72494e6975f2a34447f53b6f76c6e0e8bb867cfa8dab5205b09b5c428534a84d"
GOLDEN_INDEX = "ba509f8c71d3048c94e643a2fc916dab3953ac1ba24bc96b871733a2853b4ce9"


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_the_same_documents_give_the_same_bytes(tmp_path, make_dataset):
    make_dataset(tmp_path / "one")
    time.sleep(1.1)  # a tar stores seconds
    make_dataset(tmp_path / "two")
    assert files_of(tmp_path / "one") == files_of(tmp_path / "two")


def test_the_bytes_of_a_small_shard_are_those_of_format_version_1(tmp_path):
    write_shard(tmp_path, "small", build_chunks(SMALL, "uint16"), (4,))
    assert hashlib.sha256((tmp_path / "small.tar").read_bytes()).hexdigest() == GOLDEN_TAR
    assert hashlib.sha256((tmp_path / "small.index").read_bytes()).hexdigest() == GOLDEN_INDEX


def test_plain_webdataset_reads_a_shard(tmp_path, make_documents):
    write_shard(tmp_path, "shard", build_chunks(make_documents(7, 40), "uint16", 500), ())
    samples = list(webdataset.WebDataset(str(tmp_path / "shard.tar"), shardshuffle=False).decode())
    assert [sample["__key__"] for sample in samples] == [f"{i:06d}" for i in range(len(samples))]
    assert len(samples) > 2
    read = [
        (name, sample["tokens.npy"][start:stop].tolist())
        for sample in samples
        for name, start, stop in zip(sample["ids.json"], sample["docs.npy"], sample["docs.npy"][1:], strict=False)
    ]
    assert read == [(name, tokens.tolist()) for name, tokens in make_documents(7, 40)]


def test_plain_tar_lists_and_reads_a_shard(tmp_path, make_documents):
    entry = write_shard(tmp_path, "shard", build_chunks(make_documents(7, 40), "uint16", 500), ())
    listing = subprocess.run(["tar", "-tf", tmp_path / "shard.tar"], capture_output=True, text=True, check=True)
    with tarfile.open(tmp_path / "shard.tar") as tar:
        members = tar.getmembers()
        assert listing.stdout.split() == [member.name for member in members]
        assert {(m.mtime, m.uid, m.gid, m.uname, m.mode, m.type) for m in members} == {(0, 0, 0, "", 0o644, b"0")}
        first = tar.extractfile("000000.tokens.npy")
        assert first is not None
        assert len(np.load(io.BytesIO(first.read()), allow_pickle=False)) <= 500
    assert entry.size % 10240 == 0
    assert entry.sha256 == hashlib.sha256((tmp_path / "shard.tar").read_bytes()).hexdigest()


def test_an_exception_from_the_documents_leaves_nothing_behind(tmp_path, make_documents):
    def failing():
        yield from build_chunks(make_documents(1, 40), "uint16", 300)
        raise RuntimeError("the source broke")

    with pytest.raises(RuntimeError, match="the source broke"):
        write_shard(tmp_path, "shard", failing(), (64,))
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_takes_no_more_leaves_nothing_behind_and_names_the_file(tmp_path):
    code = """
import resource, sys
from pathlib import Path
from typing import Any
import numpy as np
from data_prep.errors import SpanwrightError
from data_prep.shards import build_chunks, write_shard
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
documents = ((str(i), np.zeros(10_000, np.uint16)) for i in range(30))
try:
    write_shard(Path(sys.argv[1]), "shard", build_chunks(documents, "uint16", 20_000), ())
except SpanwrightError as error:
    print(error)
"""
    result = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == f"{tmp_path}/shard.tar: cannot write it: File too large"
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_one_message_that_says_what_to_do():
    with (
        pytest.raises(SpanwrightError, match=r"/dev/full: the disk is full; free some space"),
        named_errors(Path("/dev/full"), "write"),
        open("/dev/full", "wb", buffering=0) as full,
    ):
        full.write(b"x")


def test_a_writer_killed_at_any_moment_never_leaves_a_torn_shard_under_a_final_name(tmp_path):
    code = """
import sys
from pathlib import Path
from typing import Any
import numpy as np
from data_prep.shards import build_chunks, write_shard
documents = [(str(i), np.full(2000, i)) for i in range(200)]
print("ready", flush=True)
for number in range(10_000):
    write_shard(Path(sys.argv[1]), f"shard-{number}", build_chunks(documents, "uint16", 100_000), (64,))
"""
    reference = write_shard(
        tmp_path, "reference", build_chunks([(str(i), np.full(2000, i)) for i in range(200)], "uint16", 100_000), (64,)
    )
    finished = 0
    for attempt in range(6):
        folder = tmp_path / str(attempt)
        folder.mkdir()
        writer = subprocess.Popen([sys.executable, "-c", code, folder], stdout=subprocess.PIPE)
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"ready\n"
        while not list(folder.glob("shard-*.index")):  # on a busy machine the first one takes a while
            time.sleep(0.005)
        time.sleep(0.037 * attempt)
        writer.send_signal(signal.SIGKILL)
        assert writer.wait() == -signal.SIGKILL
        writer.stdout.close()
        indexes = list(folder.glob("shard-*.index"))
        finished += len(indexes)
        for path in [*folder.glob("shard-*.tar"), *indexes]:
            assert path.read_bytes() == (tmp_path / "reference").with_suffix(path.suffix).read_bytes()
        assert all(path.with_suffix(".tar").exists() for path in indexes)
    assert finished >= 6
    assert reference.documents == 200


def test_a_manifest_is_not_written_unless_every_shard_verifies(dataset):
    manifest = Dataset.open(dataset).manifest
    (dataset / "manifest.json").unlink()
    tar = dataset / "shard-00002.tar"
    data = bytearray(tar.read_bytes())
    data[len(data) // 2] ^= 1
    tar.write_bytes(data)
    with pytest.raises(CorruptionError, match=r"shard-00002\.tar.*the manifest was not written"):
        write_manifest(dataset, manifest)
    assert not (dataset / "manifest.json").exists()
    assert not list(dataset.glob(".*"))


def test_a_linked_shard_keeps_its_bytes_under_its_new_name(tmp_path, make_documents):
    (tmp_path / "work").mkdir()
    entry = write_shard(tmp_path / "work", "task-7", build_chunks(make_documents(1, 9), "uint16"), (64,))
    for _ in range(2):  # also when it is already there
        linked = link_shard(tmp_path / "work", entry, tmp_path, "shard-00000")
    assert linked == entry.renamed("shard-00000")
    for suffix in (".tar", ".index"):
        assert os.path.samefile(tmp_path / f"shard-00000{suffix}", tmp_path / "work" / f"task-7{suffix}")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["shard-00000.index", "shard-00000.tar", "work"]


def test_a_shard_is_copied_where_no_hard_link_can_be_made(tmp_path, make_documents):
    with tempfile.TemporaryDirectory(dir="/dev/shm") as memory:
        assert os.stat(memory).st_dev != os.stat(tmp_path).st_dev
        entry = write_shard(Path(memory), "task-7", build_chunks(make_documents(1, 9), "uint16"), (64,))
        link_shard(Path(memory), entry, tmp_path, "shard-00000")
        for suffix in (".tar", ".index"):
            assert (tmp_path / f"shard-00000{suffix}").read_bytes() == (Path(memory) / f"task-7{suffix}").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["shard-00000.index", "shard-00000.tar"]


def test_columns_come_back_as_they_were_written(tmp_path):
    tokens = np.arange(10, dtype=np.uint16)
    columns: dict[str, np.ndarray] = {"weight": np.arange(10, dtype=np.uint8), "lang": np.array([3, 1], np.int64)}
    chunk = Chunk(tokens, np.array([0, 4, 10]), ["a", "b"], columns)
    (tmp_path / "tokenizer").mkdir()
    entry = write_shard(tmp_path, "shard-00000", [chunk, chunk], (8,))
    types = {"weight": Column(dtype="uint8", per="token"), "lang": Column(dtype="int64", per="document")}
    tokenizer = describe_tokenizer(tmp_path, "tokenizer", "00", 10)
    write_manifest(tmp_path, build_manifest("columns", tokenizer, {"train": [entry]}, {}, {}, types))
    read = Dataset.open(tmp_path).split("train").chunk(1)
    assert read.column("weight").tolist() == list(range(10))
    assert read.column("lang").tolist() == [3, 1]
    with pytest.raises(KeyError, match="no column 'words'"):
        read.column("words")


def test_a_shard_without_documents_is_a_shard(tmp_path):
    entry = write_shard(tmp_path, "empty", [], (64,))
    assert (entry.chunks, entry.documents, entry.tokens, entry.size) == (0, 0, 0, 10240)
    with tarfile.open(tmp_path / "empty.tar") as tar:
        assert tar.getmembers() == []


def test_a_long_document_is_a_chunk_of_its_own_and_none_is_cut():
    documents = [("a", np.zeros(3)), ("long", np.zeros(50)), ("b", np.zeros(4)), ("c", np.zeros(6)), ("d", np.zeros(1))]
    chunks = list(build_chunks(((name, ids.astype(int)) for name, ids in documents), "uint32", max_tokens=10))
    assert [(chunk.ids, chunk.docs.tolist()) for chunk in chunks] == [
        (["a"], [0, 3]),
        (["long"], [0, 50]),
        (["b", "c"], [0, 4, 10]),
        (["d"], [0, 1]),
    ]


def test_token_ids_that_do_not_fit_are_refused_instead_of_wrapped():
    with pytest.raises(ValueError, match="document 'a' has token ids that do not fit uint16"):
        list(build_chunks([("a", np.array([65536]))], "uint16"))


@pytest.mark.parametrize("name", ["../shard", "a/b", "", ".hidden", "shard.tar", "x" * 65, "shard\n", "ü"])
def test_a_shard_name_that_is_not_plain_is_refused(tmp_path, name):
    with pytest.raises(ValueError, match="is not a plain name"):
        ShardWriter(tmp_path, name, ())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("chunk", "problem"),
    [
        (Chunk(np.zeros(3, np.int64), np.array([0, 3]), ["a"]), "uint16 or uint32"),
        (Chunk(np.zeros(3, np.uint16), np.array([0, 2]), ["a"]), "ascend from 0 to 3"),
        (Chunk(np.zeros(3, np.uint16), np.array([0, 3, 2, 3]), ["a", "b", "c"]), "ascend from 0 to 3"),
        (Chunk(np.zeros(3, np.uint16), np.array([0, 3]), ["a", "b"]), r"must be \[3\] int64"),
        (Chunk(np.zeros(3, np.uint16), np.array([0, 3]), ["a"], {"weight": np.zeros(2)}), "neither one per token"),
        (Chunk(np.zeros(3, np.uint16), np.array([0, 3]), ["a"], {"../x": np.zeros(3)}), "not a column name"),
        (Chunk(np.zeros(3, np.uint16), np.array([0, 3]), ["a"], {"x": np.zeros(3, object)}), "are not stored"),
    ],
)
def test_a_chunk_whose_parts_do_not_fit_is_refused(tmp_path, chunk, problem):
    with pytest.raises(ValueError, match=problem):
        write_shard(tmp_path, "shard", [chunk], ())
    assert list(tmp_path.iterdir()) == []


def test_a_copied_dataset_has_the_same_fingerprint_and_a_changed_one_another(tmp_path, dataset, make_documents):
    shutil.copytree(dataset, tmp_path / "elsewhere")
    manifest = Dataset.open(dataset).manifest
    assert Dataset.open(tmp_path / "elsewhere").fingerprint == manifest.fingerprint

    def fingerprint(**changes):
        parts: dict[str, Any] = {
            "tokenizer": manifest.tokenizer,
            "splits": manifest.splits,
            "config": {},
            "report": {},
        } | changes
        return build_manifest("another name", **parts).fingerprint

    train, heldout = manifest.splits["train"], manifest.splits["heldout"]
    assert fingerprint(config={"paths": ["/elsewhere"]}) == manifest.fingerprint
    assert fingerprint(splits={"heldout": heldout, "train": [train[1], train[0], train[2]]}) != manifest.fingerprint
    assert fingerprint(splits={"heldout": train[:1], "train": [*heldout, *train[1:]]}) != manifest.fingerprint
    assert fingerprint(tokenizer=manifest.tokenizer.model_copy(update={"digest": "cd" * 32})) != manifest.fingerprint
