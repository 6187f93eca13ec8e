"""Whole micro-batches: static shapes, the rows of a sample, the way back to the text."""

import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_prep.errors import InputError
from data_prep.tokenizer.special import SpecialTokens
from pipeline.batch import IGNORED_LABEL, Batch, MicroBatch
from pipeline.corruption.config import CorruptionConfig
from pipeline.corruption.corruption import Corruption
from pipeline.corruption.pieces import GivenSample
from pipeline.corruption.select import T5Spans
from pipeline.inspection import recover

SPECIAL = SpecialTokens()
VOCAB_SIZE = 32128
WINDOW, MAX_PIECES = 64, 4


def corruption(
    window: int = WINDOW, max_pieces: int = MAX_PIECES, seed: int = 0, name: str = "corruption", **select
) -> Corruption:
    return Corruption(CorruptionConfig(select=T5Spans(**select)), SPECIAL, VOCAB_SIZE, window, max_pieces, seed, name)


def random_samples(rng: np.random.Generator, count: int, window: int, max_pieces: int) -> list[GivenSample]:
    """Windows that are full or not, of pieces of any length, at positions that are not in order."""
    samples = []
    for _ in range(count):
        cuts = np.sort(rng.integers(0, window + 1, rng.integers(1, max_pieces + 1)))
        offsets = np.unique(np.concatenate([[0], cuts, [max(cuts[-1], 1)]]))[: max_pieces + 1]
        tokens = rng.integers(171, VOCAB_SIZE, offsets[-1]).astype(np.uint16)
        samples.append(GivenSample(int(rng.integers(0, 2**40)), tokens, offsets))
    return samples


def pieces_of(samples: Sequence[GivenSample]) -> list[list[int]]:
    return [piece.tolist() for sample in samples for piece in np.split(sample.tokens, sample.piece_offsets[1:-1])]


def rows_of_sample(view: Batch, position: int) -> list[list[int]]:
    """Everything a view says about one sample, row by row, without where it lies in the micro-batch."""
    mine = np.flatnonzero(view.sample_positions == position)
    labels = np.zeros_like(view.tokens) if view.labels is None else view.labels
    starts = np.isin(mine, view.cu_seqlens[:-1])
    return np.stack([view.tokens[mine], view.positions[mine], view.sample_rows[mine], labels[mine], starts]).tolist()


def test_shapes_are_static_whatever_the_samples_hold(sample: Callable) -> None:
    made = corruption()
    for lengths in ([[64], [64]], [[1], [1]], [[16, 16, 16, 16], [3, 2]]):
        views = made.apply([sample(i, pieces) for i, pieces in enumerate(lengths)]).views
        for name, view in views.items():
            size = 2 * made.max_rows[name]
            assert [len(view.tokens), len(view.positions), len(view.sample_rows), len(view.sample_positions)] == [
                size
            ] * 4
            assert view.cu_seqlens.shape == (2 * MAX_PIECES + 1,)
            assert view.cu_seqlens.dtype == np.int32
            assert view.tokens.dtype == view.positions.dtype == view.sample_rows.dtype == np.int32
            assert view.sample_positions.dtype == np.int64
        assert views["encoder"].labels is None
        assert len(views["decoder"].labels) == len(views["decoder"].tokens)


def test_the_tail_belongs_to_no_sample_and_carries_no_label(sample: Callable) -> None:
    views = corruption().apply([sample(7, [5, 9]), sample(3, [20])]).views
    for view in views.values():
        assert 0 < view.num_rows < len(view.tokens)
        assert (view.tokens[view.num_rows :] == SPECIAL.pad).all()
        assert (view.sample_positions[view.num_rows :] == -1).all()
        assert (view.sample_positions[: view.num_rows] >= 0).all()
        assert view.cu_seqlens[3:].tolist() == [view.num_rows] * 6
    decoder = views["decoder"]
    assert (decoder.labels[decoder.num_rows :] == IGNORED_LABEL).all()
    assert decoder.num_labels == decoder.num_rows


def test_rows_are_numbered_within_sample_and_within_sequence(sample: Callable) -> None:
    encoder = corruption().apply([sample(7, [2, 3]), sample(3, [1])]).views["encoder"]
    assert encoder.cu_seqlens[:4].tolist() == [0, 3, 7, 9]
    assert encoder.positions[:9].tolist() == [0, 1, 2, 0, 1, 2, 3, 0, 1]
    assert encoder.sample_rows[:9].tolist() == [0, 1, 2, 3, 4, 5, 6, 0, 1]
    assert encoder.sample_positions[:9].tolist() == [7] * 7 + [3] * 2


@given(st.integers(0, 2**32), st.permutations(range(6)), st.integers(1, 6))
@settings(max_examples=60, deadline=None)
def test_a_samples_rows_are_the_same_in_any_company(seed: int, order: list[int], size: int) -> None:
    samples = random_samples(np.random.default_rng(seed), 6, WINDOW, MAX_PIECES)
    made = corruption(edges="free")
    alone = {one.position: made.apply([one]).views for one in samples}
    for start in range(0, 6, size):
        group = [samples[i] for i in order[start : start + size]]
        together = made.apply(group)
        assert together.positions.tolist() == [one.position for one in group]
        for one in group:
            for name, view in together.views.items():
                assert rows_of_sample(view, one.position) == rows_of_sample(alone[one.position][name], one.position)


def assert_recovered(made: Corruption, samples: Sequence[GivenSample]) -> None:
    recovered = recover(made.apply(samples).views, SPECIAL)
    assert [piece.tolist() for piece in recovered] == pieces_of(samples)


@given(
    seed=st.integers(0, 2**32),
    window=st.integers(2, 200),
    max_pieces=st.integers(1, 8),
    edges=st.sampled_from(["t5", "free"]),
    density=st.floats(0.01, 0.99),
    mean=st.floats(2.0, 10.0),
)
@settings(max_examples=150, deadline=None)
def test_encoder_and_targets_together_hold_the_text(seed, window, max_pieces, edges, density, mean) -> None:
    made = corruption(window, max_pieces, seed, noise_density=density, mean_span_length=mean, edges=edges)
    assert_recovered(made, random_samples(np.random.default_rng(seed), 8, window, max_pieces))


def test_two_thousand_windows_of_full_size_hold_their_text() -> None:
    rng = np.random.default_rng(0)
    for edges in ("t5", "free"):
        made = corruption(568, 8, edges=edges)
        for _ in range(10):
            assert_recovered(made, random_samples(rng, 100, 568, 8))


@pytest.mark.parametrize("length", [1, 2, 3, 567, 8192])
def test_a_lone_piece_of_any_length_comes_back(length: int, sample: Callable) -> None:
    made = corruption(max(length, 2), 1, noise_density=0.05, mean_span_length=5.0)
    assert_recovered(made, [sample(0, [length])])


def test_a_lone_window_of_568_tokens_fills_512_and_114_rows_to_the_last(sample: Callable) -> None:
    views = corruption(568, 1).apply([sample(0, [568]), sample(1, [568])]).views
    assert (views["encoder"].num_rows, len(views["encoder"].tokens)) == (1024, 1024)
    assert (views["decoder"].num_rows, len(views["decoder"].tokens)) == (228, 228)


def test_seed_stream_and_position_each_change_the_mask(sample: Callable) -> None:
    def labels(made: Corruption, position: int) -> list[int]:
        return made.apply([sample(position, [64])]).views["decoder"].labels.tolist()

    base = labels(corruption(), 0)
    assert labels(corruption(), 0) == base
    others = [labels(corruption(), 1), labels(corruption(seed=1), 0), labels(corruption(name="heldout"), 0)]
    assert base not in others
    assert len({tuple(other) for other in others}) == 3


def test_the_same_text_is_masked_anew_in_the_next_epoch(sample: Callable) -> None:
    views = corruption().apply([sample(3, [64]), sample(1003, [64])]).views
    assert rows_of_sample(views["encoder"], 3) != rows_of_sample(views["encoder"], 1003)


def test_worker_processes_draw_the_same_masks(sample: Callable) -> None:
    made, samples = corruption(), [sample(i, [30, 34]) for i in range(4)]
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        theirs: MicroBatch = pool.submit(made.apply, samples).result()
    ours = made.apply(samples)
    for name, view in ours.views.items():
        assert theirs.views[name].tokens.tolist() == view.tokens.tolist()
        assert theirs.views[name].cu_seqlens.tolist() == view.cu_seqlens.tolist()


def test_unsigned_shard_tokens_and_empty_pieces_are_taken_as_they_are(sample: Callable) -> None:
    tokens = np.array([65535, 200, 300], np.uint16)
    views = corruption().apply([GivenSample(0, tokens, np.array([0, 0, 3, 3]))]).views
    assert [piece.tolist() for piece in recover(views, SPECIAL)] == [[], [65535, 200, 300]]


def test_a_combination_that_cannot_work_is_refused_before_any_text_is_read() -> None:
    with pytest.raises(InputError, match="sentinels"):
        corruption(window=8192)


def test_a_sample_beyond_the_static_shapes_is_our_own_bug(sample: Callable) -> None:
    with pytest.raises(AssertionError, match="longer than the window"):
        corruption().apply([sample(0, [65])])
    with pytest.raises(AssertionError, match="max_pieces"):
        corruption().apply([sample(0, [1, 1, 1, 1, 1])])
