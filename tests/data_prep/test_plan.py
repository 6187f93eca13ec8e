from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_prep.config import DataConfig, ShardsConfig
from data_prep.plan import (
    HASH_RANGE,
    UnitTask,
    auto_split_bytes,
    document_limits,
    heldout_limit,
    plan_digest,
    plan_units,
)
from data_prep.sources.inputs import InputFile


def file(name: str, size: int, source: Any = "text", path: str = "/corpus", digest: str = "d") -> InputFile:
    return InputFile(f"{path}/{name}", name, source, size, 0, digest + name)


def shape(units: list) -> list[list[tuple[str, int, int]]]:
    return [[(split.name, split.start, split.stop) for split in unit.splits] for unit in units]


def test_small_files_share_a_unit_and_large_lines_are_cut() -> None:
    files = [file("a", 3000), file("b", 2000), file("c", 20_000), file("d", 9000, "jsonl"), file("e", 10)]
    assert shape(plan_units(files, DataConfig(split_bytes=5000))) == [
        [("a", 0, 3000), ("b", 0, 2000)],
        [("c", 0, 20_000)],
        [("d", 0, 4500)],
        [("d", 4500, 9000), ("e", 0, 10)],
    ]


def test_a_text_file_is_cut_only_where_its_documents_are_smaller() -> None:
    files = [file("a", 10_000)]
    assert shape(plan_units(files, DataConfig(split_bytes=5000))) == [[("a", 0, 10_000)]]
    cut = plan_units(files, DataConfig(split_bytes=5000, document="line"))
    assert shape(cut) == [[("a", 0, 5000)], [("a", 5000, 10_000)]]


@given(sizes=st.lists(st.integers(0, 30_000), max_size=20), split_bytes=st.integers(4096, 9000))
def test_every_byte_is_in_exactly_one_unit_in_order(sizes: list[int], split_bytes: int) -> None:
    files = [file(str(number), size, "jsonl") for number, size in enumerate(sizes)]
    units = plan_units(files, DataConfig(split_bytes=split_bytes))
    covered = [(split.name, byte) for unit in units for split in unit.splits for byte in (split.start, split.stop)]
    expected_end = {str(number): size for number, size in enumerate(sizes)}
    place = dict.fromkeys(expected_end, 0)
    for (name, start), (_, stop) in zip(covered[::2], covered[1::2], strict=True):
        assert place[name] == start
        place[name] = stop
    assert place == expected_end
    assert all(unit.size <= split_bytes for unit in units)
    assert len({unit.digest for unit in units}) == len(units)


def test_the_split_size_follows_the_corpus_within_bounds() -> None:
    assert auto_split_bytes(10) == 2**20
    assert auto_split_bytes(2**30) == 2**24
    assert auto_split_bytes(2**50) == 2**28


def task(config: DataConfig, path: str = "/corpus", **more: Any) -> UnitTask:
    [unit] = plan_units([file("a", 10, path=path, **more)], config)
    return UnitTask("scan", unit, config, None)


def test_a_task_is_named_after_its_content_not_its_place() -> None:
    first = task(DataConfig())
    assert task(DataConfig(workers=9, dir="/x", name="other"), path="/elsewhere").id == first.id
    assert task(DataConfig(), digest="e").id != first.id
    assert task(DataConfig(text_field="body")).id != first.id
    assert UnitTask("scan", first.unit, first.config, 5).id != first.id
    assert UnitTask("tokenize", first.unit, first.config, None, (("rate", 1),)).id != first.id


def test_the_plan_changes_with_everything_that_changes_the_dataset() -> None:
    files = [file("a", 10)]
    first = plan_digest(DataConfig(), files, None)
    assert plan_digest(DataConfig(workers=7, dir="/x"), files, None) == first
    changed = [
        plan_digest(DataConfig(heldout_fraction=0.1), files, None),
        plan_digest(DataConfig(shards=ShardsConfig(window_sizes=(64,))), files, None),
        plan_digest(DataConfig(), [file("a", 10, digest="e")], None),
        plan_digest(DataConfig(), [file("b", 10)], None),
        plan_digest(DataConfig(), files, "own"),
    ]
    assert len({first, *changed}) == 6


@given(fraction=st.floats(0, 0.5), hashes=st.lists(st.integers(0, HASH_RANGE - 1), min_size=2, unique=True))
def test_two_different_documents_always_stand_on_different_sides(fraction: float, hashes: list[int]) -> None:
    limit = heldout_limit(fraction, min(hashes), max(hashes))
    heldout = [value for value in hashes if value <= limit]
    assert len(heldout) < len(hashes)
    assert bool(heldout) == (fraction > 0)


def test_copies_of_one_document_are_all_trained_on() -> None:
    assert heldout_limit(0.5, 7, 7) == -1


@pytest.mark.parametrize(
    ("most", "limits"),
    [(None, [None, None, None]), (0, [0, 0, 0]), (4, [3, 1, 0]), (3, [3, 0, 0]), (99, [3, 2, 4])],
)
def test_the_first_documents_count(most: int | None, limits: list[int | None]) -> None:
    assert document_limits([3, 2, 4], most) == limits
