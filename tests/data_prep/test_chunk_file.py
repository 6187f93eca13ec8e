"""The chunks that wait for their finish: they come back as they were, or are refused."""

from pathlib import Path

import numpy as np
import pytest

from data_prep.chunk_file import ChunkWriter, StoredChunks, read_chunks
from data_prep.errors import CorruptionError
from data_prep.shards import Chunk, Column

COLUMNS = {
    "words": Column(dtype="uint8", per="token"),
    "lang": Column(dtype="uint16", per="document"),
    "spans": Column(dtype="int32", per="span", kinds=["name"]),
}


def chunk(number: int) -> Chunk:
    columns = {
        "words": np.arange(7, dtype=np.uint8) % 2,
        "lang": np.array([number, 2, 3], np.uint16),
        "spans": np.array([[0, 1, 0], [1, 3, 0]], np.int32),
        "spans_docs": np.array([0, 1, 1, 2], np.int64),
    }
    tokens, docs = np.arange(number, number + 7, dtype=np.uint32), np.array([0, 4, 4, 7])
    return Chunk(tokens, docs, [f"ü{number}", "b", "c"], columns)


def write(path: Path, chunks: list[Chunk]) -> StoredChunks:
    writer = ChunkWriter(path)
    for each in chunks:
        writer.add(each)
    return writer.close()


def test_chunks_and_their_documents_come_back_as_they_were(tmp_path: Path) -> None:
    path, chunks = tmp_path / "train.blocks", [chunk(number) for number in range(3)]
    stored = write(path, chunks)
    assert (stored.documents, stored.tokens, stored.bytes) == (9, 21, path.stat().st_size)
    for before, after in zip(chunks, read_chunks(path), strict=True):
        after.check()
        assert after.ids == before.ids
        arrays = zip([*before.columns.items()], [*after.columns.items()], strict=True)
        for (name, expected), (name_after, found) in [*arrays, (("", before.docs), ("", after.docs))]:
            assert (name_after, found.dtype) == (name, expected.dtype)
            np.testing.assert_array_equal(found, expected)
        first, second, third = after.documents(COLUMNS)
        assert (first.id, first.token_ids.tolist()) == (before.ids[0], before.tokens[:4].tolist())
        assert [len(second.token_ids), len(second.columns["spans"]), len(third.columns["spans"])] == [0, 0, 1]
        assert third.columns["lang"].tolist() == [3]


def test_a_changed_byte_of_an_array_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "train.blocks"
    write(path, [chunk(1)])
    data = bytearray(path.read_bytes())
    data[data.index(chunk(1).tokens.tobytes())] ^= 4
    path.write_bytes(data)
    with pytest.raises(CorruptionError, match=r"train\.blocks: damaged"):
        list(read_chunks(path))
