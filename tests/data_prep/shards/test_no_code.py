"""Reading a shard runs no code: a pickle in any place is refused, and what it would have done does not happen."""

import io
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data_prep.errors import CorruptionError
from data_prep.shards import Dataset, build_manifest, canonical, describe_tokenizer, framing
from data_prep.shards.files import publish, staged_bytes
from data_prep.shards.manifest import ChunkEntry, Index, Member, ShardEntry, encode_index, encode_manifest


class Payload:
    """Unpickling this creates the marker file."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (str(self.marker),)


def npy_pickle(marker: Path) -> bytes:
    """What numpy.save writes for an array of objects: an npy file with a pickle in it."""
    file = io.BytesIO()
    np.save(file, np.array([Payload(marker)], dtype=object), allow_pickle=True)
    return file.getvalue()


def npy_expression(marker: Path) -> bytes:
    """An npy file whose header is code."""
    header = f"__import__('os').mkdir({str(marker)!r})".encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header


def hostile_dataset(folder: Path, members: dict[str, bytes]) -> None:
    """A dataset whose digests are all right and whose members are the attacker's."""
    entries, tar = [], b""
    for suffix, data in members.items():
        tar += framing.tar_header(f"000000.{suffix}", len(data))
        entry = Member(name=f"000000.{suffix}", offset=len(tar), length=len(data), sha256=canonical.digest(data))
        entries.append(entry)
        tar += data + bytes(framing.padding_length(len(data)))
    tar += bytes(framing.trailer_length(len(tar)))
    chunk = ChunkEntry(key="000000", documents=1, tokens=1, members=entries, windows={})
    shared: dict[str, Any] = {
        "size": len(tar),
        "sha256": canonical.digest(tar),
        "documents": 1,
        "tokens": 1,
        "windows": {},
    }
    index = encode_index(Index(format_version=1, chunks=[chunk], **shared))
    (folder / "tokenizer").mkdir(parents=True)
    tokenizer = describe_tokenizer(folder, "tokenizer", "00", 10)
    shard = ShardEntry(name="shard-00000", index=canonical.digest(index), chunks=1, **shared)
    manifest = encode_manifest(build_manifest("hostile", tokenizer, {"train": [shard]}, {}, {}))
    files = {"shard-00000.tar": tar, "shard-00000.index": index, "manifest.json": manifest}
    publish([staged_bytes(folder / name, data) for name, data in files.items()])


def honest_members() -> dict[str, bytes]:
    arrays = {"tokens.npy": np.array([7], np.uint16), "docs.npy": np.array([0, 1])}
    members = {name: b"".join(bytes(part) for part in framing.npy_parts(array)) for name, array in arrays.items()}
    return members | {"ids.json": b'["a"]'}


def read(folder: Path) -> list:
    chunk = Dataset.open(folder).split("train").chunk(0)
    return [chunk.tokens.tolist(), chunk.docs.tolist(), chunk.ids]


def test_the_hand_made_dataset_is_read_when_its_members_are_honest(tmp_path):
    hostile_dataset(tmp_path, honest_members())
    assert read(tmp_path) == [[7], [0, 1], ["a"]]


@pytest.mark.parametrize("member", ["tokens.npy", "docs.npy", "ids.json"])
@pytest.mark.parametrize("payload", [npy_pickle, npy_expression, lambda marker: pickle.dumps(Payload(marker))])
def test_a_payload_with_right_digests_is_refused_and_never_runs(tmp_path, member, payload):
    marker = tmp_path / "marker"
    hostile_dataset(tmp_path / "dataset", honest_members() | {member: payload(marker)})
    with pytest.raises(CorruptionError, match=rf"shard-00000\.tar: member 000000\.{member}: "):
        read(tmp_path / "dataset")
    assert not marker.exists()


def test_the_payloads_would_have_run(tmp_path):
    pickle.loads(pickle.dumps(Payload(tmp_path / "marker")))  # noqa: S301 - proves that the test above can fail
    assert (tmp_path / "marker").exists()
