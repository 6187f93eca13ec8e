"""Pairs of segments: every row of the text is kept, cut at a sentence, typed, swapped at the stated share."""

from typing import Any

import numpy as np
import pytest

from data_prep.tokenizer.special import SpecialTokens
from pipeline.batch import IGNORED_LABEL, Batch
from pipeline.corruption.config import CorruptionConfig
from pipeline.corruption.corruption import Corruption
from pipeline.corruption.pieces import GivenSample

SPECIAL = SpecialTokens()
VOCAB, WINDOW, MAX_PIECES = 1000, 48, 4


def section(pairs: bool) -> dict[str, Any]:
    layout = {"kind": "in_place", "pairs": {"kind": "order"} if pairs else None}
    return {"select": {"kind": "exactly_k", "rate": 0.2}, "replace": {"kind": "token_by_token"}, "layout": layout}


def samples_of(count: int, seed: int = 0) -> list[GivenSample]:
    """Windows of up to four pieces (some of one token, or of one sentence), every token another one of its window."""
    random = np.random.default_rng(seed)
    samples = []
    for position in range(count):
        size = int(random.integers(2, WINDOW + 1))
        bounds = np.unique([0, *random.integers(1, size, 3), size])
        sents = (random.random(size) < 0.2).astype(np.uint8)
        samples.append(GivenSample(position, 300 + random.permutation(500)[:size], bounds, {"sents": sents}))
    return samples


def views_of(samples: list[GivenSample], pairs: bool = True) -> Batch:
    config = CorruptionConfig.model_validate(section(pairs))
    return Corruption(config, SPECIAL, VOCAB, WINDOW, MAX_PIECES, seed=5).apply(samples).views["encoder"]


def test_every_pair_holds_the_rows_of_its_text_cut_at_a_sentence_start() -> None:
    samples = samples_of(60)
    whole, view = views_of(samples, pairs=False), views_of(samples)
    assert view.pair_labels is not None
    assert view.labels is not None
    pieces = [(s, a, b) for s in samples for a, b in zip(s.piece_offsets[:-1], s.piece_offsets[1:], strict=True)]
    kinds = dict.fromkeys((0, 1, IGNORED_LABEL), 0)
    for n, (sample, start, stop) in enumerate(pieces):
        rows, before = view.sequence(n), whole.sequence(n)
        text = list(zip(whole.tokens[before].tolist(), whole.labels[before].tolist(), strict=True))
        shown = list(zip(view.tokens[rows].tolist(), view.labels[rows].tolist(), strict=True))
        types, label = view.token_types[rows].tolist(), int(view.pair_labels[n])
        kinds[label] += 1
        assert view.positions[rows].tolist() == list(range(len(shown)))
        starts = np.flatnonzero(sample.columns["sents"][start + 1 : stop]) + 1
        if label == IGNORED_LABEL:
            assert len(starts) == 0
            assert shown == text
            assert not any(types)
            continue
        second = types.index(1)
        assert types == [0] * second + [1] * (len(types) - second)
        assert shown[0] == text[0]
        assert shown[second - 1] == shown[-1] == text[-1] == (SPECIAL.sep, IGNORED_LABEL)
        first_half, second_half = shown[1 : second - 1], shown[second:-1]
        halves = [second_half, first_half] if label else [first_half, second_half]
        assert halves[0] + halves[1] == text[1:-1]
        assert len(halves[0]) in starts
    assert min(kinds.values()) > 10, "all kinds occurred"


def test_half_of_the_pairs_are_swapped_and_every_sentence_start_is_a_cut() -> None:
    sents = np.zeros(40, np.uint8)
    sents[[0, 10, 20, 30]] = 1
    samples = [GivenSample(p, np.arange(300, 340), np.array([0, 40]), {"sents": sents}) for p in range(2000)]
    view = views_of(samples)
    labels = view.pair_labels[:2000]
    assert abs(labels.mean() - 0.5) < 0.04  # three and a half standard deviations
    sizes = view.token_types[: view.num_rows].reshape(2000, 43).sum(1) - 1
    cuts = np.where(labels == 1, sizes, 40 - sizes)
    shares = np.bincount(cuts, minlength=41)[[10, 20, 30]] / 2000
    assert np.abs(shares - 1 / 3).max() < 0.04


def test_a_sample_gets_the_same_pairs_in_any_micro_batch() -> None:
    samples = samples_of(9, seed=3)
    together = views_of(samples)
    first_piece = sum(len(sample.piece_offsets) - 1 for sample in samples[:5])
    alone = views_of(samples[5:6])
    for n in range(len(samples[5].piece_offsets) - 1):
        own, shared = alone.sequence(n), together.sequence(first_piece + n)
        for name in ("tokens", "labels", "token_types", "sample_rows", "sample_positions", "positions"):
            assert np.array_equal(getattr(alone, name)[own], getattr(together, name)[shared]), name
        assert alone.pair_labels[n] == together.pair_labels[first_piece + n]


def test_the_static_shape_holds_the_largest_window() -> None:
    sents = np.ones(WINDOW, np.uint8)
    bounds = np.array([0, 12, 24, 36, 48])
    view = views_of([GivenSample(0, np.arange(300, 300 + WINDOW), bounds, {"sents": sents})])
    assert view.num_rows == len(view.tokens) == WINDOW + 3 * MAX_PIECES


@pytest.mark.parametrize("window", [2, 3, 7])
def test_a_batch_of_small_windows_is_whole(window: int) -> None:
    config = CorruptionConfig.model_validate(section(pairs=True))
    samples = [
        GivenSample(0, np.arange(300, 300 + window), np.array([0, 1, window]), {"sents": np.ones(window, np.uint8)})
    ]
    view = Corruption(config, SPECIAL, VOCAB, window, 2, seed=5).apply(samples).views["encoder"]
    assert view.num_rows <= len(view.tokens)
