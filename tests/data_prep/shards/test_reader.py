import multiprocessing

import numpy as np
import pytest

from data_prep.errors import CorruptionError
from data_prep.shards import Dataset, Split, canonical
from data_prep.shards.cache import BoundedCache
from data_prep.shards.packing import PACKINGS


def test_documents_come_back_in_order(dataset, make_documents):
    split = Dataset.open(dataset).split("train")
    read = [
        (name, chunk.tokens[start:stop].tolist())
        for chunk in map(split.chunk, range(split.num_chunks))
        for name, start, stop in zip(chunk.ids, chunk.docs, chunk.docs[1:], strict=False)
    ]
    assert read == [(name, tokens.tolist()) for seed in range(3) for name, tokens in make_documents(seed, 60)]


def test_the_split_counts_its_chunks_shards_and_tokens(dataset):
    split = Dataset.open(dataset).split("train")
    assert split.num_shards == 3
    assert split.num_chunks == sum(entry.chunks for entry in split.shards) == len(split.chunk_shards)
    assert split.chunk_shards.tolist() == sorted(split.chunk_shards.tolist())
    assert split.chunk_tokens.tolist() == [len(split.chunk(i).tokens) for i in range(split.num_chunks)]
    assert split.chunk_tokens.sum() == sum(entry.tokens for entry in split.shards)


@pytest.mark.parametrize("packing", PACKINGS)
def test_stored_window_counts_are_those_of_the_plans(dataset, packing):
    split = Dataset.open(dataset).split("train")
    planned = [len(split.plan(i, 64, packing, 8)) for i in range(split.num_chunks)]
    assert split.window_counts(64, packing, 8).tolist() == planned
    assert split.shard_window_counts(64, packing, 8).sum() == sum(planned)
    assert all(f"{packing}/64/8" in entry.windows for entry in split.shards)


@pytest.mark.parametrize("packing", PACKINGS)
def test_window_counts_that_are_not_stored_are_planned(dataset, packing):
    split = Dataset.open(dataset).split("train")
    planned = [len(split.plan(i, 33, packing, 3)) for i in range(split.num_chunks)]
    assert split.window_counts(33, packing, 3).tolist() == planned
    per_shard = np.bincount(split.chunk_shards, weights=planned).astype(int).tolist()
    assert split.shard_window_counts(33, packing, 3).tolist() == per_shard
    assert all(f"{packing}/33/3" not in entry.windows for entry in split.shards)


def test_a_count_that_is_not_the_plans_is_refused_by_name(dataset, monkeypatch):
    split = Dataset.open(dataset).split("train")
    split._shard(0).index.chunks[0].windows["document/64/8"] += 1
    with pytest.raises(CorruptionError, match=r"shard shard-00000, chunk 0: \d+ windows of document/64/8 where"):
        split.plan(0, 64, "document", 8)


def test_arrays_cannot_be_written_to(dataset):
    chunk = Dataset.open(dataset).split("train").chunk(0)
    for array in (chunk.tokens, chunk.docs):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1


def test_no_more_shards_are_open_than_allowed_and_the_data_stays_the_same(dataset):
    split = Dataset.open(dataset).split("train", max_open_shards=1)
    reference = Dataset.open(dataset).split("train")
    kept = split.chunk(0).tokens
    for number in [*range(split.num_chunks), *reversed(range(split.num_chunks))]:
        assert split.chunk(number).tokens.tolist() == reference.chunk(number).tokens.tolist()
        assert len(split._open) == 1
    assert kept.tolist() == reference.chunk(0).tokens.tolist()  # an array outlives the shard it came from


def test_a_chunk_outside_the_split_is_an_error(dataset):
    split = Dataset.open(dataset).split("heldout")
    for number in (-1, split.num_chunks):
        with pytest.raises(IndexError, match=f"chunk {number} of {split.num_chunks}"):
            split.chunk(number)


def digest_of(split: Split) -> str:
    return canonical.digest(b"".join(split.chunk(i).tokens.tobytes() for i in range(split.num_chunks)))


def test_a_split_may_be_sent_to_a_spawned_process(dataset):
    split = Dataset.open(dataset).split("train")
    expected = digest_of(split)  # opened maps stay behind
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(digest_of, (split,)) == expected


def test_the_cache_drops_the_least_recently_used_first_and_keeps_the_newest():
    made: list[str] = []

    def make(key: str, size: int) -> str:
        made.append(key)
        return key * size

    cache: BoundedCache[str, str] = BoundedCache(5, cost=len)
    for key, size in (("a", 2), ("b", 2), ("a", 2), ("c", 2), ("b", 2), ("d", 9), ("a", 2)):
        assert cache.get(key, lambda key=key, size=size: make(key, size)) == key * size  # type: ignore[misc]
    assert made == ["a", "b", "c", "b", "d", "a"]
    assert len(cache) == 1
