from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_prep.config import DataConfig, ShardsConfig, TokenizerConfig
from data_prep.plan import (
    HASH_RANGE,
    MOST_SPLITS,
    PART_BYTES,
    Stage,
    auto_split_bytes,
    document_limits,
    heldout_limit,
    num_parts,
    plan_digest,
    plan_finishes,
    plan_passes,
    plan_stages,
    plan_units,
)
from data_prep.sources.document import InputFile
from data_prep.tasks.passes import Decided, DocumentsFile, PassTask


def file(name: str, size: int, source: Any = "text", path: str = "/corpus", digest: str = "d") -> InputFile:
    return InputFile(f"{path}/{name}", name, source, size, digest + name)


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


def test_a_unit_has_a_bounded_number_of_files() -> None:
    units = plan_units([file(str(number), 1) for number in range(2 * MOST_SPLITS + 1)], DataConfig())
    assert [len(unit.splits) for unit in units] == [MOST_SPLITS, MOST_SPLITS, 1]


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
    assert auto_split_bytes(10) == 2**22
    assert auto_split_bytes(2**30) == 2**24
    assert auto_split_bytes(2**50) == 2**28


def task(config: DataConfig, path: str = "/corpus", **more: Any) -> PassTask:
    [unit] = plan_units([file("a", 10, path=path, **more)], config)
    return PassTask(1, unit, 0, config, (), None)


def test_a_task_is_named_after_its_content_not_its_place() -> None:
    first = task(DataConfig())
    same = DataConfig(workers=9, dir="/x", name="other", max_errors=5, heldout_fraction=0.5)
    assert task(same, path="/elsewhere").id == first.id
    assert task(DataConfig(), digest="e").id != first.id
    assert task(DataConfig(text_field="body")).id != first.id
    assert replace(first, limit=5).id != first.id
    assert replace(first, unit=7).id == first.id
    shorter, short = (Stage("clean", TokenizerConfig(vocab_size=size), 1, 1) for size in (600, 700))
    ids = {replace(first, stages=(short,)).id, replace(first, stages=(shorter,)).id, replace(first, observe=short).id}
    assert len({first.id, *ids}) == 4


def test_a_later_pass_is_named_after_the_documents_it_gets_and_the_decision() -> None:
    documents = DocumentsFile("read-1", "digest", 10, "a")
    first = PassTask(2, documents, 3, DataConfig(), (), None, Decided(("join-1/result",), "decided"))
    assert replace(first, source=DocumentsFile("read-2", "digest", 10, "b")).id == first.id
    assert replace(first, decided=Decided(("join-2/result",), "decided")).id == first.id
    others = [
        replace(first, source=DocumentsFile("read-1", "other", 10, "a")),
        replace(first, decided=Decided(("join-1/result",), "other")),
        replace(first, unit=4),
    ]
    assert len({task.id for task in (first, *others)}) == 4


def test_the_plan_changes_with_everything_that_changes_the_dataset() -> None:
    files = [file("a", 10)]
    stage = Stage("clean", TokenizerConfig(), 1, 1)
    first = plan_digest(DataConfig(), files, [stage], None)
    assert plan_digest(DataConfig(workers=7, dir="/x"), files, [stage], None) == first
    changed = [
        plan_digest(DataConfig(heldout_fraction=0.1), files, [stage], None),
        plan_digest(DataConfig(shards=ShardsConfig(window_sizes=(64,))), files, [stage], None),
        plan_digest(DataConfig(), [file("a", 10, digest="e")], [stage], None),
        plan_digest(DataConfig(), [file("b", 10)], [stage], None),
        plan_digest(DataConfig(), files, [replace(stage, version=2)], None),
        plan_digest(DataConfig(), files, [replace(stage, inputs=("evaluation",))], None),
        plan_digest(DataConfig(), files, [stage], "own"),
    ]
    assert len({first, *changed}) == 8


@pytest.mark.usefixtures("tiny_stages")
def test_stages_are_cut_into_passes_where_one_sees_the_whole_corpus() -> None:
    def passes(*kinds: str) -> list[tuple[list[str], str | None]]:
        config = DataConfig.model_validate({"stages": list(kinds)})
        planned = plan_passes(plan_stages(config, [() for _ in kinds]))
        assert [each.number for each in planned] == list(range(1, len(planned) + 1))
        return [([stage.kind for stage in each.stages], each.observe and each.observe.kind) for each in planned]

    assert passes() == [([], None)]
    assert passes("short", "lossy") == [(["short", "lossy"], None)]
    assert passes("once") == [([], "once"), (["once"], None)]
    assert passes("short", "once", "short", "once", "lossy") == [
        (["short"], "once"),
        (["once", "short"], "once"),
        (["once", "lossy"], None),
    ]


@pytest.mark.usefixtures("tiny_stages")
def test_weights_are_computed_before_documents_are_copied() -> None:
    config = DataConfig.model_validate({"stages": ["short", "select"], "columns": {"weight": "idf"}})
    assert [(stage.kind, stage.place) for stage in plan_finishes(config)] == [("weight", 2), ("select", 3)]
    assert plan_finishes(DataConfig()) == []


def test_large_observations_are_reduced_in_more_parts() -> None:
    assert [num_parts(size) for size in (0, 1, PART_BYTES, PART_BYTES + 1, 2**60)] == [1, 1, 1, 2, 1024]


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
