"""The C++ kernel against its specification in NumPy: the same bits, for every combination and any lengths."""

import dataclasses

import numpy as np
import pytest

from pipeline.batch import Views
from pipeline.corruption.corruption import Corruption
from pipeline.corruption.pieces import GivenSample, gather_pieces
from pipeline.kernels import masking
from pipeline.kernels.masking import cpu, reference
from tests.pipeline.kernels.masking.cases import (
    COLUMNS,
    LONG,
    MAX_PIECES,
    VOCAB_SIZE,
    WINDOW,
    assert_equal_views,
    corruptions,
    long_corruption,
    long_samples,
    random_columns,
    random_sample,
    save_similar_table,
)

POISON = 123456789
EMPTY = np.random.default_rng(0)


@pytest.fixture(scope="module", autouse=True)
def _similar_table(tmp_path_factory: pytest.TempPathFactory) -> None:
    save_similar_table(tmp_path_factory.mktemp("table"))


def assert_same(made: Corruption, samples: list[GivenSample]) -> Views:
    pieces = gather_pieces(samples, COLUMNS)
    theirs, ours = reference.mask(made._plan, pieces), cpu.mask(made._plan, pieces)
    assert list(theirs) == list(ours)
    for name, view in theirs.items():
        assert_equal_views(view, ours[name], f"{made.config} {name}")
    return ours


def compare(samples_each: int, step: int = 1) -> int:
    """Compare every (or every `step`th) combination on so many samples; returns the number of pieces compared."""
    rng, count = np.random.default_rng(0), 0
    for made in corruptions(WINDOW, MAX_PIECES, step):
        samples = [random_sample(rng, WINDOW) for _ in range(samples_each)]
        assert_same(made, samples)
        count += sum(len(sample.piece_offsets) - 1 for sample in samples)
    return count


def test_kernel_and_reference_agree_on_20_000_pieces_of_every_third_combination() -> None:
    assert len(corruptions(WINDOW, MAX_PIECES, 3)) > 200
    assert compare(14, step=3) > 20_000


@pytest.mark.long
def test_kernel_and_reference_agree_on_500_000_pieces_of_every_combination() -> None:
    assert compare(350) > 500_000


@pytest.mark.parametrize(("select", "replace", "layout"), LONG)
def test_kernel_and_reference_agree_on_pieces_of_8192_tokens(select: dict, replace: dict, layout: dict) -> None:
    assert_same(long_corruption(select, replace, layout), long_samples())


def test_a_micro_batch_without_text_is_all_tail() -> None:
    for made in corruptions(WINDOW, MAX_PIECES, 3)[::2]:
        views = assert_same(made, [GivenSample(0, np.zeros(0, np.int64), np.array([0, 0]), random_columns(EMPTY, 0))])
        assert all(view.num_rows == 0 for view in views.values())


def test_every_element_of_the_views_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    def poisoned(num_words: int) -> np.ndarray:
        return np.full(num_words, POISON * (1 + 2**32))

    rng = np.random.default_rng(2)
    monkeypatch.setattr(cpu, "block", poisoned)
    for made in corruptions(WINDOW, MAX_PIECES, 3)[::2]:
        for view in cpu.mask(
            made._plan, gather_pieces([random_sample(rng, WINDOW) for _ in range(3)], COLUMNS)
        ).values():
            for field in dataclasses.fields(view):
                values = getattr(view, field.name)
                poison = POISON * (1 + 2**32) if field.name == "sample_positions" else POISON
                assert values is None or not (values == poison).any(), (made.config, field.name)


def test_micro_batches_that_are_kept_are_not_written_over() -> None:
    made = corruptions(WINDOW, MAX_PIECES, 3)[0]
    rng = np.random.default_rng(3)
    samples = [GivenSample(i, rng.integers(171, VOCAB_SIZE, 64), np.array([0, 64])) for i in range(12)]
    kept = [made.apply([sample]).views["encoder"].tokens for sample in samples]
    assert [tokens.tolist() for tokens in kept] == [
        made.apply([sample]).views["encoder"].tokens.tolist() for sample in samples
    ]
    assert len({tokens.ctypes.data for tokens in kept}) == len(kept)


def test_without_a_compiler_the_reference_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    made = corruptions(WINDOW, MAX_PIECES, 3)[0]
    pieces = gather_pieces([GivenSample(3, np.arange(200, 260), np.array([0, 20, 60]))])
    fast = masking.mask(made._plan, pieces)
    monkeypatch.setattr(cpu, "library", lambda: None)
    slow = masking.mask(made._plan, pieces)
    assert slow["encoder"].tokens.tolist() == fast["encoder"].tokens.tolist()
