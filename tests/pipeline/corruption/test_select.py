"""T5's spans: the original's arithmetic, its segmentation, and what the papers say about the masks."""

import itertools
import math
from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from pipeline.corruption.philox import Key, UInt32Array, stream_key
from pipeline.corruption.pieces import GivenSample, Pieces, gather_pieces
from pipeline.corruption.sampling import Purpose
from pipeline.corruption.select import Selection, T5Spans

KEY = stream_key(0, "corruption")
EDGES = ("t5", "free")


def select(config: T5Spans, pieces: Pieces, key: Key = KEY) -> Selection:
    return config.choose(pieces, config.budget(int(pieces.lengths.max(initial=0))), key)


def masks(config: T5Spans, length: int, count: int, sample: Callable) -> np.ndarray:
    """[count, length] masks of as many samples of one piece."""
    pieces = gather_pieces([sample(position, [length]) for position in range(count)])
    return select(config, pieces).mask(count * length).reshape(count, length)


def t5_counts(length: int, noise_density: float, mean_span_length: float) -> tuple[int, int]:
    """Noise tokens and spans as the original's `random_spans_noise_mask` has them (Python rounds half to even)."""
    num_noise = min(max(round(length * noise_density), 1), length - 1)
    num_spans = max(round(num_noise / mean_span_length), 1)
    return num_noise, min(num_spans, num_noise, length - num_noise)


def spans_of(selection: Selection) -> list[tuple[int, int]]:
    return list(zip(selection.starts.tolist(), selection.stops.tolist(), strict=True))


def test_a_lone_piece_of_568_tokens_has_85_noise_tokens_in_28_spans(sample: Callable) -> None:
    selection = select(T5Spans(), gather_pieces([sample(0, [568])]))
    assert len(selection.starts) == 28
    assert selection.lengths.sum() == 85


@pytest.mark.parametrize(
    ("density", "mean"), [(0.15, 3.0), (0.5, 3.0), (0.15, 8.0), (0.5, 32.0), (0.25, 1.0), (0.99, 1.5)]
)
def test_counts_are_those_of_the_original_for_every_length(density: float, mean: float) -> None:
    budget = T5Spans(noise_density=density, mean_span_length=mean).budget(8192)
    expected = [(0, 0), (0, 0)] + [t5_counts(length, density, mean) for length in range(2, 8193)]
    assert list(zip(budget.most_tokens.tolist(), budget.most_spans.tolist(), strict=True)) == expected
    assert budget.fewest_tokens.tolist() == budget.most_tokens.tolist()


def test_halves_are_rounded_to_even_as_in_the_original() -> None:
    noise = T5Spans(noise_density=0.25, mean_span_length=2.0).budget(24)
    assert [int(noise.most_tokens[length]) for length in (10, 14, 18, 22)] == [2, 4, 4, 6]  # 2.5 3.5 4.5 5.5
    assert [int(noise.most_spans[length]) for length in (12, 20)] == [2, 2]  # 3/2 and 5/2


@pytest.mark.parametrize("edges", EDGES)
@pytest.mark.parametrize("length", [2, 3, 7, 568, 8192])
def test_spans_are_disjoint_not_adjacent_and_inside_their_piece(edges: str, length: int, sample: Callable) -> None:
    config = T5Spans(edges=edges)
    selection = select(config, gather_pieces([sample(5, [length])]))
    noise, spans = t5_counts(length, 0.15, 3.0)
    assert len(selection.starts) == spans
    assert selection.lengths.sum() == noise
    assert (selection.lengths >= 1).all()
    assert (selection.starts[1:] > selection.stops[:-1]).all()
    assert selection.starts[0] >= 0
    assert selection.stops[-1] <= length


@pytest.mark.parametrize("edges", EDGES)
def test_pieces_of_no_or_one_token_have_no_span_and_do_not_disturb_their_neighbours(
    edges: str, sample: Callable
) -> None:
    selection = select(T5Spans(edges=edges), gather_pieces([sample(0, [0, 1, 40, 0, 1, 1, 2, 0])]))
    assert np.diff(selection.offsets).tolist() == [0, 0, 2, 0, 0, 0, 1, 0]
    assert selection.pieces.tolist() == [2, 2, 6]
    assert select(T5Spans(edges=edges), gather_pieces([sample(0, [1])])).starts.tolist() == []


def test_with_t5_edges_the_first_token_is_never_hidden_and_the_last_always(sample: Callable) -> None:
    drawn = masks(T5Spans(), 100, 2000, sample)
    assert not drawn[:, 0].any()
    assert drawn[:, -1].all()


def test_with_free_edges_the_outer_tokens_are_hidden_as_often_as_counting_masks_says(sample: Callable) -> None:
    drawn = masks(T5Spans(edges="free"), 100, 4000, sample)
    expected = 5 / (85 + 1)  # spans / (remaining tokens + 1)
    error = 4 * math.sqrt(expected / 4000)
    assert abs(drawn[:, 0].mean() - expected) < error
    assert abs(drawn[:, -1].mean() - expected) < error


@pytest.mark.parametrize("edges", EDGES)
def test_away_from_the_edges_no_token_is_preferred(edges: str, sample: Callable) -> None:
    count = 3000
    drawn = masks(T5Spans(edges=edges), 568, count, sample)
    inner = drawn[:, 100:-100]
    assert (drawn.sum(axis=1) == 85).all()
    # Neighbouring tokens are correlated, tokens of different samples are not: each column is a binomial.
    deviation = (inner.mean(axis=0) - 0.15) / math.sqrt(0.15 * 0.85 / count)
    assert np.abs(deviation).max() < 4.5
    slope = np.polyfit(np.arange(inner.shape[1]), inner.mean(axis=0), 1)[0]
    assert abs(slope) * inner.shape[1] < 0.005


@pytest.mark.parametrize("edges", EDGES)
def test_every_mask_the_rule_allows_is_equally_likely(edges: str, sample: Callable) -> None:
    config, length, count = T5Spans(noise_density=0.45, mean_span_length=2.0, edges=edges), 9, 30_000
    noise, spans = t5_counts(length, 0.45, 2.0)
    assert (noise, spans) == (4, 2)
    allowed = []
    for chosen in itertools.combinations(range(length), noise):
        runs = 1 + sum(b - a > 1 for a, b in itertools.pairwise(chosen))
        if runs == spans and (edges == "free" or (chosen[0] > 0 and chosen[-1] == length - 1)):
            allowed.append(chosen)
    counts = Counter(tuple(np.flatnonzero(row).tolist()) for row in masks(config, length, count, sample))
    assert sorted(counts) == allowed
    expected, degrees = count / len(allowed), len(allowed) - 1
    chi_squared = sum((drawn - expected) ** 2 / expected for drawn in counts.values())
    assert chi_squared < degrees + 4 * math.sqrt(2 * degrees)


def test_span_lengths_have_the_mean_and_the_histogram_of_random_segmentation(sample: Callable) -> None:
    pieces = gather_pieces([sample(position, [568]) for position in range(2000)])
    lengths = select(T5Spans(), pieces).lengths
    assert lengths.mean() == 85 / 28
    observed = np.bincount(lengths, minlength=12)[1:12] / len(lengths)
    # A random split of 85 tokens into 28 parts: P(part = k) = C(84 - k, 26) / C(84, 27).
    expected = [math.comb(84 - k, 26) / math.comb(84, 27) for k in range(1, 12)]
    assert np.abs(observed - expected).max() < 0.004


def plain_twin(config: T5Spans, length: int, bits: list[int]) -> list[tuple[int, int]]:
    """One piece, one step at a time: what the vectorised code must give."""
    if length < 2:
        return []
    noise, spans = t5_counts(length, config.noise_density, config.mean_span_length)
    free = config.edges == "free"
    candidates = noise - 1, length - noise + (1 if free else -1)

    def cuts(start: int, size: int, k: int) -> list[int]:
        return sorted(sorted(range(size), key=lambda unit: (bits[start + unit], unit))[:k])

    noise_cuts = cuts(0, candidates[0], spans - 1)
    rest_cuts = cuts(candidates[0], candidates[1], spans if free else spans - 1)
    noise_ends = [0, *(cut + 1 for cut in noise_cuts), noise]
    gaps = list(rest_cuts) if free else [*(cut + 1 for cut in rest_cuts), length - noise]
    return [(gap + noise_ends[i], gap + noise_ends[i + 1]) for i, gap in enumerate(gaps)]


@given(
    lengths=st.lists(st.lists(st.integers(0, 60), min_size=1, max_size=5), min_size=1, max_size=6),
    config=st.builds(
        T5Spans,
        noise_density=st.floats(0.01, 0.99),
        mean_span_length=st.floats(1.0, 12.0),
        edges=st.sampled_from(EDGES),
    ),
    seed=st.integers(0, 2**32),
)
@settings(max_examples=300, deadline=None)
def test_many_pieces_at_once_give_what_a_plain_loop_gives(lengths, config, seed) -> None:
    samples = [
        GivenSample(seed + i, np.zeros(sum(pieces)), np.concatenate([[0], np.cumsum(pieces)]).astype(int))
        for i, pieces in enumerate(lengths)
    ]
    pieces, key = gather_pieces(samples), stream_key(seed, "corruption")
    bits = pieces.bits(key, Purpose.SELECT).tolist()
    expected = [
        (start + a, start + b)
        for start, stop in itertools.pairwise(pieces.offsets.tolist())
        for a, b in plain_twin(config, stop - start, bits[start:stop])
    ]
    assert spans_of(select(config, pieces, key)) == expected


class GivenKeys(Pieces):
    """Pieces whose random bits are written down by hand."""

    def bits(self, key: Key, purpose: Purpose) -> UInt32Array:
        return np.array([9, 2, 7, 1, 8, 3, 4, 6, 5, 7, 0, 0] * 2, np.uint32)


@pytest.fixture
def given_keys(sample: Callable) -> Pieces:
    """Two pieces of twelve tokens with the same twelve keys."""
    pieces = gather_pieces([sample(0, [12, 12])])
    return GivenKeys(pieces.tokens, pieces.offsets, pieces.samples, pieces.sample_offsets, pieces.positions)


def test_hand_computed_spans_with_t5_edges(given_keys: Pieces) -> None:
    """Twelve tokens, 50 %, mean 2: six noise tokens in three spans.

    Units 0 to 4 cut the noise (two cuts), units 5 to 9 the rest (two cuts), units 10 and 11 are unused. The smallest of
    the first five keys are units 3 and 1, so the noise splits after its 2nd and 4th token: 2 + 2 + 2. The smallest of
    the next five are units 5 and 6 (candidates 0 and 1), so the rest splits after its 1st and 2nd token: 1 + 1 + 4.
    Interleaved: - ## - ## ---- ##.
    """
    selection = select(T5Spans(noise_density=0.5, mean_span_length=2.0), given_keys)
    assert spans_of(selection) == [(1, 3), (4, 6), (10, 12), (13, 15), (16, 18), (22, 24)]


def test_hand_computed_spans_with_free_edges(given_keys: Pieces) -> None:
    """The same keys: the rest has seven candidates, 0 to 6, which are units 5 to 11, and three cuts.

    The smallest three are units 10, 11 and 5: candidates 5, 6 and 0. So no token, five and six tokens of the rest stand
    before the three spans: ## ----- ## - ##.
    """
    selection = select(T5Spans(noise_density=0.5, mean_span_length=2.0, edges="free"), given_keys)
    assert spans_of(selection) == [(0, 2), (7, 9), (10, 12), (12, 14), (19, 21), (22, 24)]


@pytest.mark.parametrize(
    "wrong", [{"noise_density": 0.0}, {"noise_density": 1.0}, {"mean_span_length": 0.5}, {"edges": "both"}]
)
def test_settings_that_mean_nothing_are_refused_by_name(wrong: dict) -> None:
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        T5Spans(**wrong)
