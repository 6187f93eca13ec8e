import itertools
import json
import multiprocessing
import shutil
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from data_prep.errors import CorruptionError, InputError
from data_prep.shards import Dataset, build_chunks, build_manifest, describe_tokenizer, write_manifest, write_shard
from pipeline.sample import Sample
from pipeline.stream import Stream, StreamConfig
from tests.shards import with_damaged_token

VOCAB_SIZE = 70_000  # needs uint32
CONFIG = StreamConfig(window=64, block_shards=2)
CONFIGS = [
    CONFIG,
    StreamConfig(window=64, block_shards=64),
    StreamConfig(window=40, packing="concat", max_pieces=3, block_shards=1),
    StreamConfig(window=17, max_pieces=1, block_shards=3),
]


def documents(seed: int) -> dict[str, np.ndarray]:
    """Fifty documents of 0 to 120 tokens; plain arithmetic, so that the golden order depends on nothing else."""
    lengths = [max(0, (seed * 7919 + number * 104729) % 131 - 10) for number in range(50)]
    tokens = np.arange(131) * 48271
    return {f"{seed}-{number}": (tokens[:length] + number) % VOCAB_SIZE for number, length in enumerate(lengths)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Five train shards (the last block of two is short) and one held-out shard."""
    folder = tmp_path_factory.mktemp("dataset")
    (folder / "tokenizer").mkdir()
    tokenizer = describe_tokenizer(folder, "tokenizer", digest="00", vocab_size=VOCAB_SIZE)
    entries = [
        write_shard(folder, f"shard-{seed:05d}", build_chunks(documents(seed).items(), "uint32", 700), (64,))
        for seed in range(6)
    ]
    empty = write_shard(folder, "shard-00006", [], (64,))
    splits = {"train": entries[:5], "heldout": entries[5:], "empty": [empty]}
    write_manifest(folder, build_manifest("tests", tokenizer, splits, {}, {}))
    return folder


def open_stream(folder: Path, config: StreamConfig = CONFIG, seed: int = 1, **arguments) -> Stream:
    return Stream(Dataset.open(folder).split("train"), config, seed, **arguments)


def content(sample: Sample) -> tuple:
    """Everything a sample says."""
    place = (sample.position, sample.epoch, sample.shard, sample.chunk, sample.window)
    return (*place, sample.tokens.tolist(), sample.piece_offsets.tolist(), sample.documents)


@pytest.mark.parametrize("config", CONFIGS)
def test_every_one_of_three_epochs_is_a_permutation_of_the_windows(folder, config):
    stream = open_stream(folder, config)
    counts = stream.split.window_counts(config.window, config.packing, config.max_pieces)
    windows = [(chunk, window) for chunk, count in enumerate(counts.tolist()) for window in range(count)]
    assert len(stream) == len(windows)
    orders = []
    for epoch in range(3):
        locations = [stream.locate(epoch * len(stream) + rank) for rank in range(len(stream))]
        assert {location.epoch for location in locations} == {epoch}
        order = [(location.chunk, location.window) for location in locations]
        assert sorted(order) == windows
        assert all(location.shard == stream.split.chunk_shards[location.chunk] for location in locations)
        orders.append(order)
    assert all(one != other for one, other in itertools.combinations([windows, *orders], 2))


@pytest.mark.parametrize("config", CONFIGS)
def test_an_epoch_holds_every_token_of_every_document_once(folder, config):
    stream = open_stream(folder, config)
    found: dict[str, list[tuple[int, list[int]]]] = {}
    for position in range(len(stream)):
        sample = stream.sample(position)
        assert sample.tokens.dtype == np.uint32
        assert 0 < len(sample.tokens) <= config.window
        assert 1 <= len(sample.documents) == len(sample.piece_offsets) - 1 <= config.max_pieces
        for piece, start, stop in zip(sample.documents, sample.piece_offsets, sample.piece_offsets[1:], strict=False):
            assert piece.stop - piece.start == stop - start
            found.setdefault(piece.document_id, []).append((piece.start, sample.tokens[start:stop].tolist()))
    whole = {name: [token for _, tokens in sorted(parts) for token in tokens] for name, parts in found.items()}
    expected = {name: ids.tolist() for seed in range(5) for name, ids in documents(seed).items() if len(ids)}
    assert whole == expected


def test_two_spans_per_piece_are_its_halves_one_after_the_other(folder):
    whole, halves = open_stream(folder), open_stream(folder, CONFIG.model_copy(update={"spans_per_piece": 2}))
    assert halves.config.max_sequences == 2 * CONFIG.max_pieces
    for position in range(len(whole)):
        one, two = whole.sample(position), halves.sample(position)
        assert two.tokens.tolist() == one.tokens.tolist()
        assert two.piece_offsets[::2].tolist() == one.piece_offsets.tolist()
        lengths = np.diff(two.piece_offsets).reshape(-1, 2)
        assert set((lengths[:, 1] - lengths[:, 0]).tolist()) <= {0, 1}
        spans = two.documents
        for piece, first, second in zip(one.documents, spans[::2], spans[1::2], strict=True):
            assert first.document_id == second.document_id == piece.document_id
            assert (first.start, second.stop) == (piece.start, piece.stop)
            assert first.stop == second.start


def test_blocks_follow_each_other_whole_in_an_order_of_their_own_each_epoch(folder):
    stream = open_stream(folder)
    orders = []
    for epoch in range(12):
        blocks = [stream.locate(epoch * len(stream) + rank).shard // 2 for rank in range(len(stream))]
        order = [block for block, _ in itertools.groupby(blocks)]
        assert sorted(order) == [0, 1, 2]
        orders.append(tuple(order))
    assert len(set(orders)) > 2


def test_seeking_gives_what_walking_gives(folder):
    walked = open_stream(folder)
    walk = [content(walked.sample(position)) for position in range(3 * len(walked))]
    rng = np.random.default_rng(0)
    for position in rng.integers(0, len(walk), 60).tolist():
        assert content(open_stream(folder).sample(position)) == walk[position]
    far = 10**15 + 7
    assert open_stream(folder).sample(far).epoch == far // len(walked)


def test_a_sample_does_not_depend_on_where_the_dataset_lies(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "elsewhere")
    here, there = open_stream(folder), open_stream(tmp_path / "elsewhere")
    assert here.fingerprint == there.fingerprint
    assert [content(here.sample(p)) for p in range(40)] == [content(there.sample(p)) for p in range(40)]


@pytest.mark.parametrize(
    "changes", [{"seed": 2}, {"name": "another"}, {"config": StreamConfig(window=64, block_shards=3)}]
)
def test_another_seed_name_or_block_size_gives_another_order_and_fingerprint(folder, changes):
    one, other = open_stream(folder), open_stream(folder, **changes)
    assert one.fingerprint != other.fingerprint
    assert [one.locate(p) for p in range(len(one))] != [other.locate(p) for p in range(len(one))]


def test_heldout_samples_stand_in_the_order_of_the_shards(folder):
    stream = Stream(Dataset.open(folder).split("heldout"), CONFIG, seed=1, name="heldout", shuffle=False)
    places = [stream.locate(position)[1:] for position in range(len(stream))]
    assert places == sorted(places)
    assert [stream.locate(len(stream) + rank)[1:] for rank in range(len(stream))] == places


def test_the_order_never_changes(folder):
    """A changed order would silently give a resumed run other data."""
    golden = json.loads((Path(__file__).parent / "stream_order.json").read_text())
    stream = open_stream(folder)
    assert [list(stream.locate(position)) for position in golden["positions"]] == golden["locations"]


def samples_of(stream: Stream) -> list[tuple]:
    return [content(stream.sample(position)) for position in range(10)]


def test_a_stream_may_be_sent_to_a_spawned_loader_worker(folder):
    stream = open_stream(folder)
    expected = samples_of(stream)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(samples_of, (stream,)) == expected


def test_bounded_memory_gives_the_same_samples(folder, monkeypatch):
    expected = samples_of(open_stream(folder))
    monkeypatch.setattr("pipeline.stream._PLAN_CACHE_BYTES", 1)
    monkeypatch.setattr("pipeline.stream._COUNT_CACHE_SHARDS", 1)
    stream = Stream(Dataset.open(folder).split("train", max_open_shards=1), CONFIG, 1)
    assert samples_of(stream) == expected
    assert len(stream._plans) == len(stream._chunk_offsets) == len(stream.split._open) == 1


def test_damaged_tokens_are_refused_at_the_sample_that_touches_them(folder, tmp_path):
    stream = open_stream(with_damaged_token(folder, tmp_path / "damaged", shard=3))
    first = stream.split.first_chunk(3)
    refused = 0
    for position in range(len(stream)):
        if stream.locate(position).chunk == first:
            with pytest.raises(CorruptionError, match=r"shard-00003\.tar: member 000000\.tokens\.npy: changed"):
                stream.sample(position)
            refused += 1
        else:
            stream.sample(position)
    assert refused > 1


def test_a_split_without_tokens_is_a_wrong_input(folder):
    with pytest.raises(InputError, match="the split 'empty' holds no tokens; prepare a larger corpus"):
        Stream(Dataset.open(folder).split("empty"), CONFIG, 1)


def test_a_negative_position_is_an_error(folder):
    with pytest.raises(IndexError, match="position -1 is negative"):
        open_stream(folder).sample(-1)


@pytest.mark.parametrize("section", [{"window": 0}, {"packing": "shuffle"}, {"max_pieces": 0}, {"widnow": 568}])
def test_a_config_that_makes_no_sense_is_refused(section):
    with pytest.raises(ValidationError):
        StreamConfig.model_validate(section)
