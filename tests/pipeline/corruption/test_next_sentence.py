"""Next-sentence pairs: half of the second segments are another document's, and nothing else of a text changes."""

import dataclasses
from typing import Any

import numpy as np
import pytest

from data_prep.errors import InputError
from data_prep.tokenizer.special import SpecialTokens
from pipeline.batch import IGNORED_LABEL, Batch
from pipeline.corruption.config import CorruptionConfig
from pipeline.corruption.corruption import Corruption
from pipeline.corruption.pieces import GivenSample

SPECIAL = SpecialTokens()
VOCAB, WINDOW, MAX_PIECES = 3000, 48, 4
OWN, OTHER = 300, 2000  # the first token id of a text, and of another document
SECTION: dict[str, Any] = {
    "select": {"kind": "whole_words", "rate": 0.2},
    "replace": {"kind": "token_by_token"},
    "layout": {"kind": "in_place", "pairs": {"kind": "next"}},
}


def window_of(random: np.random.Generator, position: int, first: int) -> GivenSample:
    """Up to four pieces, some of one token or one sentence; token, word and sentence marks tell the place."""
    size = int(random.integers(2, WINDOW + 1))
    bounds = np.unique([0, *random.integers(1, size, 3), size])
    marks = {name: (random.random(size) < share).astype(np.uint8) for name, share in (("sents", 0.2), ("words", 0.6))}
    return GivenSample(position, first + np.arange(size), bounds, marks)


def samples_of(count: int, seed: int = 0) -> list[GivenSample]:
    random = np.random.default_rng(seed)
    return [
        dataclasses.replace(window_of(random, position, OWN), other=window_of(random, position + 1, OTHER))
        for position in range(count)
    ]


def views_of(samples: list[GivenSample]) -> Batch:
    config = CorruptionConfig.model_validate(SECTION)
    return Corruption(config, SPECIAL, VOCAB, WINDOW, MAX_PIECES, seed=5).apply(samples).views["encoder"]


def test_the_second_segment_goes_on_with_the_text_or_is_a_run_of_the_other_document() -> None:
    samples = samples_of(80)
    view = views_of(samples)
    assert view.labels is not None
    original = np.where(view.labels == IGNORED_LABEL, view.tokens, view.labels)
    pieces = [(s, a, b) for s in samples for a, b in zip(s.piece_offsets[:-1], s.piece_offsets[1:], strict=True)]
    kinds = dict.fromkeys((0, 1, IGNORED_LABEL), 0)
    for n, (sample, start, stop) in enumerate(pieces):
        rows, text = view.sequence(n), sample.tokens[start:stop].tolist()
        shown, types, label = original[rows].tolist(), view.token_types[rows].tolist(), int(view.pair_labels[n])
        kinds[label] += 1
        assert view.positions[rows].tolist() == list(range(len(shown)))
        if label == IGNORED_LABEL:
            assert shown == [SPECIAL.cls, *text, SPECIAL.sep]
            continue
        second = types.index(1)
        a, b = shown[1 : second - 1], shown[second:-1]
        assert shown[second - 1] == shown[-1] == SPECIAL.sep
        assert a == text[: len(a)]
        assert sample.columns["sents"][start + len(a)], "the cut is a sentence start"
        if label == 0:
            assert a + b == text
            continue
        assert 1 <= len(b) <= len(text) - len(a)
        first = b[0] - OTHER
        assert b == list(range(b[0], b[0] + len(b))), "a run of the other document"
        [piece] = np.flatnonzero((sample.other.piece_offsets[:-1] <= first) & (first < sample.other.piece_offsets[1:]))
        assert first == sample.other.piece_offsets[piece] or sample.other.columns["sents"][first]
        assert first + len(b) <= sample.other.piece_offsets[piece + 1], "within one piece"
    assert min(kinds.values()) > 10, "all kinds occurred"


def test_half_of_the_second_segments_are_random_and_their_words_are_hidden_like_any() -> None:
    marks = {"sents": (np.arange(40) % 10 == 0).astype(np.uint8), "words": np.ones(40, np.uint8)}
    other = GivenSample(0, OTHER + np.arange(40), np.array([0, 40]), marks)
    samples = [GivenSample(p, OWN + np.arange(40), np.array([0, 40]), marks, other) for p in range(2000)]
    view = views_of(samples)
    assert abs(view.pair_labels[:2000].mean() - 0.5) < 0.04  # three and a half standard deviations
    hidden = view.labels[: view.num_rows]
    of_other = (hidden >= OTHER).sum() / ((view.tokens[: view.num_rows] >= OTHER) | (hidden >= OTHER)).sum()
    assert abs(of_other - 0.2) < 0.02  # about 24,000 tokens, 8 of 40 hidden in each full text


def test_a_sample_is_the_same_beside_others_and_without_another_document_it_stays_as_it_is() -> None:
    samples = samples_of(12, seed=3)
    together = views_of(samples)
    alone = views_of(samples[5:6])
    first = sum(len(s.piece_offsets) - 1 for s in samples[:5])
    for n in range(alone.num_sequences):
        assert alone.tokens[alone.sequence(n)].tolist() == together.tokens[together.sequence(first + n)].tolist()
        assert alone.pair_labels[n] == together.pair_labels[first + n]
    lonely = views_of([dataclasses.replace(sample, other=None) for sample in samples])
    assert not (lonely.pair_labels == 1).any()
    assert (lonely.pair_labels == 0).any()


def test_pairs_with_positions_of_two_levels_are_refused() -> None:
    config = CorruptionConfig.model_validate(SECTION)
    with pytest.raises(InputError, match="bipe numbers sentences"):
        Corruption(config, SPECIAL, VOCAB, WINDOW, MAX_PIECES, seed=5, segmented=("encoder",))
