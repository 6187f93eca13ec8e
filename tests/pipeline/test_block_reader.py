"""Many samples found and copied at once: the text of the samples one by one, in every kind of stream."""

import multiprocessing
from pathlib import Path
from unittest import mock

import numpy as np
import pytest

from data_prep.errors import CorruptionError
from data_prep.shards import Column, Dataset
from pipeline.block_reader import BlockReader, Samples
from pipeline.corruption.pieces import Pieces, gather_pieces
from pipeline.kernels.reading import cpu
from pipeline.phases import PhasedStream
from pipeline.stream import Stream, StreamConfig
from pipeline.token_columns import WantedColumn
from tests.shards import Documents, with_damaged_token, write_columned

COLUMNS = {
    "weight": Column(dtype="uint8", per="token"),
    "spans": Column(dtype="int32", per="span", kinds=["identifier"]),
}
SPANS = np.array([[1, 4, 0], [5, 9, 0]], np.int32)
CONFIGS = {
    "document": StreamConfig(window=64, block_shards=2),
    "one block": StreamConfig(window=40, block_shards=64),
    "concat": StreamConfig(window=40, packing="concat", max_pieces=3, block_shards=1),
    "one piece": StreamConfig(window=17, max_pieces=1, block_shards=3),
    "halves": StreamConfig(window=64, block_shards=2, spans_per_piece=2),
}


@pytest.fixture(scope="module", params=["uint16", "uint32"])
def folder(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Path:
    """Five shards of several chunks each, and one whose documents are all empty; weights follow from the tokens."""
    folder, vocab_size = tmp_path_factory.mktemp("dataset"), 1000 if request.param == "uint16" else 70_000
    write_columned(folder, (documents(shard, vocab_size) for shard in range(6)), COLUMNS, 500, vocab_size)
    return folder


def documents(shard: int, vocab_size: int) -> Documents:
    for number in range(40):
        length = 0 if shard == 3 else max(0, (shard * 7919 + number * 104729) % 131 - 10)
        tokens = (np.arange(length) * 48271 + number) % vocab_size
        yield (
            f"{shard}-{number}",
            tokens,
            {"weight": (tokens % 251).astype(np.uint8), "spans": SPANS[: 2 * (length > 9)]},
        )


def open_stream(folder: Path, kind: str = "document", columns: tuple[str, ...] = (), **options: object) -> Stream:
    wanted = [WantedColumn(name) for name in columns]
    return Stream(Dataset.open(folder).split("train"), CONFIGS[kind], 7, columns=wanted, **options)


def everything(pieces: Pieces) -> dict[str, tuple[str, list[int]]]:
    arrays = {name: getattr(pieces, name) for name in ("tokens", "offsets", "samples", "sample_offsets", "positions")}
    return {name: (str(array.dtype), array.tolist()) for name, array in {**arrays, **pieces.columns}.items()}


def one_by_one(samples: Samples, columns: tuple[str, ...] = ()) -> dict[str, tuple[str, list[int]]]:
    return everything(gather_pieces(list(samples), columns))


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("columns", [(), ("weight", "spans")])
@pytest.mark.parametrize("kind", CONFIGS)
def test_runs_of_samples_have_the_text_of_the_samples_one_by_one(folder, kind, columns, shuffle):
    stream, draw = open_stream(folder, kind, columns, shuffle=shuffle), np.random.default_rng(1)
    at_once = 0
    for _ in range(30):
        first, count = int(draw.integers(3 * len(stream))), int(draw.integers(1, 12))
        samples = stream.samples(first, count)
        at_once += stream.text(first, count, first) is not None
        assert everything(samples.pieces(columns)) == one_by_one(samples, columns)
    assert at_once > 10


def test_a_whole_epoch_is_the_same_whatever_the_size_of_the_micro_batches(folder):
    stream = open_stream(folder)
    expected = [sample.tokens.tolist() for sample in stream.samples(0, len(stream))]
    for count in (1, 5, 16):
        found = []
        for first in range(0, len(stream) - count + 1, count):
            pieces = stream.samples(first, count).pieces()
            found += [part.tolist() for part in np.split(pieces.tokens, pieces.sample_offsets[1:-1])]
        assert found == expected[: len(found)]
        assert len(found) > len(stream) - count


def test_a_text_stays_as_it_is_while_others_are_read(folder):
    stream = open_stream(folder, columns=("weight",))
    held = [stream.samples(first, 2).pieces(("weight",)) for first in range(0, 40, 2)]
    for first, pieces in zip(range(0, 40, 2), held, strict=True):
        assert everything(pieces) == one_by_one(stream.samples(first, 2), ("weight",))


def test_only_the_columns_that_are_asked_for_are_given(folder):
    samples = open_stream(folder, columns=("weight", "spans")).samples(3, 4)
    assert list(samples.pieces(["spans"]).columns) == ["spans"]
    assert list(samples.pieces().columns) == []


def test_positions_are_those_of_the_run_in_a_later_phase(folder):
    streams = [open_stream(folder), open_stream(folder, "halves")]
    samples = PhasedStream([0, 50], [0, 50], streams).samples(54, 3)
    assert samples.pieces().positions.tolist() == [54, 55, 56]
    assert everything(samples.pieces()) == one_by_one(samples)
    assert samples[0].tokens.tolist() == streams[1].sample(4).tokens.tolist()


def test_little_memory_changes_nothing_and_is_kept_to(folder, monkeypatch):
    monkeypatch.setattr("pipeline.stream._PLAN_CACHE_BYTES", 1)
    held: set[int] = set()
    hold, drop = cpu.HeldBlock.hold, cpu.HeldBlock.drop
    monkeypatch.setattr(cpu.HeldBlock, "hold", lambda self, chunk, *rest: (held.add(chunk), hold(self, chunk, *rest)))
    monkeypatch.setattr(cpu.HeldBlock, "drop", lambda self, chunk: (held.remove(chunk), drop(self, chunk)))
    stream = open_stream(folder, "one block")
    for first in range(0, 40, 4):
        samples = stream.samples(first, 4)
        assert everything(samples.pieces()) == one_by_one(samples)
        assert not held


@pytest.mark.parametrize("missing", ["compiler", "open files"])
def test_where_the_kernel_cannot_read_samples_are_read_one_by_one(folder, monkeypatch, missing):
    stream = open_stream(folder)
    expected = everything(stream.samples(5, 6).pieces())
    if missing == "compiler":
        monkeypatch.setattr("pipeline.block_reader.library", lambda: None)
        stream = open_stream(folder)
    else:
        stream = Stream(Dataset.open(folder).split("train", max_open_shards=1), CONFIGS["document"], 7)
    with mock.patch.object(BlockReader, "gather", side_effect=AssertionError):
        assert everything(stream.samples(5, 6).pieces()) == expected


def test_damaged_tokens_are_refused_by_the_samples_that_touch_them(folder, tmp_path):
    stream = open_stream(with_damaged_token(folder, tmp_path / "damaged", shard=1))
    refused = 0
    for position in range(len(stream)):
        if stream.locate(position).chunk == stream.split.first_chunk(1):
            with pytest.raises(CorruptionError, match=r"shard-00001\.tar: member 000000\.tokens\.npy: changed"):
                stream.samples(position, 1).pieces()
            refused += 1
        else:
            stream.samples(position, 1).pieces()
    assert refused > 1


def texts_of(stream: Stream) -> list[object]:
    return [everything(stream.samples(first, 4).pieces()) for first in range(0, 40, 4)]


def test_a_stream_that_has_read_may_be_sent_to_a_spawned_loader_worker(folder):
    stream = open_stream(folder, columns=("weight",))
    expected = texts_of(stream)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(texts_of, (stream,)) == expected
