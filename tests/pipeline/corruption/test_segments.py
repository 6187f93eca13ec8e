"""Positions of two levels: which sentence a row belongs to, and its place there, in every layout."""

import itertools
from typing import Any

import numpy as np
import pytest
import torch

from data_prep.errors import InputError
from data_prep.tokenizer.special import SpecialTokens
from pipeline.batch import Batch
from pipeline.corruption.config import CorruptionConfig
from pipeline.corruption.corruption import Corruption
from pipeline.corruption.pieces import GivenSample

SPECIAL, VOCAB_SIZE, FIRST = SpecialTokens(), 1000, 200
MASKS = {"kind": "token_by_token", "mask": 1.0, "random": 0.0}
T5: dict[str, Any] = {"select": {"kind": "t5_spans", "noise_density": 0.3, "mean_span_length": 3.0}}
BERT = {"select": {"kind": "each_token", "rate": 0.3}, "replace": MASKS, "layout": {"kind": "in_place"}}
VISIBLE = {"select": {"kind": "exactly_k", "rate": 0.5}, "replace": MASKS, "layout": {"kind": "visible_only"}}
BART = {
    "select": {"kind": "poisson_spans"},
    "replace": {"kind": "mask_per_span"},
    "layout": {"kind": "full_reconstruction"},
}
CONFIGS = {"t5": T5, "bert": BERT, "visible": VISIBLE, "bart": BART}


def corruption(config: dict[str, Any], segmented: tuple[str, ...] = ("encoder", "decoder")) -> Corruption:
    checked = CorruptionConfig.model_validate(config)
    names = [name for name in segmented if name in checked.views]
    return Corruption(checked, SPECIAL, VOCAB_SIZE, window=64, max_pieces=3, seed=3, segmented=names)


def draw_samples(seed: int, count: int = 20) -> list[GivenSample]:
    """Every token says where it stands; a piece may begin inside a sentence."""
    rng = np.random.default_rng(seed)
    samples = []
    for position in range(count):
        offsets = np.array([0, *sorted(rng.integers(0, 65, 2)), 64])
        sents = (rng.random(64) < 0.2).astype(np.uint8)
        samples.append(GivenSample(position, FIRST + np.arange(64), offsets, {"sents": sents}))
    return samples


def sentence_of(sample: GivenSample) -> list[tuple[int, int]]:
    """By plain loops: number of the sentence in its piece, and place in it, of every token."""
    levels: list[tuple[int, int]] = []
    for token in range(64):
        begins_piece = token in sample.piece_offsets.tolist()
        number, place = (-1, 0) if begins_piece else levels[-1]
        begins = begins_piece or sample.columns["sents"][token]
        levels.append((number + 1, 0) if begins else (number, place + 1))
    return levels


def sequences(view: Batch) -> list[tuple[list[int], list[list[int]]]]:
    """Tokens and levels of every sequence."""
    bounds = itertools.pairwise(view.cu_seqlens.tolist())
    return [(view.tokens[start:stop].tolist(), view.positions[start:stop].tolist()) for start, stop in bounds]


@pytest.mark.parametrize("name", CONFIGS)
def test_only_the_positions_of_the_views_that_ask_have_two_levels(name: str) -> None:
    samples = draw_samples(0)
    plain, both = corruption(CONFIGS[name], ()).apply(samples).views, corruption(CONFIGS[name]).apply(samples).views
    only = corruption(CONFIGS[name], ("encoder",)).apply(samples).views
    for view, one in plain.items():
        assert both[view].positions.shape == (len(one.tokens), 2)
        assert both[view].positions.dtype == np.int32
        assert not both[view].positions[one.num_rows :].any()
        assert np.array_equal(both[view].tokens, one.tokens)
        assert only[view].positions.ndim == (2 if view == "encoder" else 1)


def test_what_is_hidden_in_place_keeps_its_sentence_and_the_ends_join_what_is_beside_them() -> None:
    samples = draw_samples(1)
    made = sequences(corruption(BERT).apply(samples).views["encoder"])
    expected = iter(made)
    for sample in samples:
        for start, stop in itertools.pairwise(sample.piece_offsets.tolist()):
            _, levels = next(expected)
            if start == stop:
                assert levels == []
                continue
            numbers = [number for number, _ in sentence_of(sample)[start:stop]]
            shown = [numbers[0], *numbers, numbers[-1]]
            assert [number for number, _ in levels] == shown
            assert [place for _, place in levels] == [
                place for _, run in itertools.groupby(shown) for place in range(len(list(run)))
            ]


@pytest.mark.parametrize("ends", [False, True])
def test_visible_tokens_keep_the_levels_they_have_in_the_text(ends: bool) -> None:
    samples = draw_samples(2)
    view = corruption({**VISIBLE, "layout": {"kind": "visible_only", "ends": ends}}).apply(samples).views["encoder"]
    rows = zip(
        view.tokens[: view.num_rows].tolist(), view.positions.tolist(), view.sample_positions.tolist(), strict=False
    )
    seen = 0
    for token, levels, position in rows:
        if token >= FIRST:
            number, place = sentence_of(samples[position])[token - FIRST]
            assert levels == [number, place + (ends and number == 0)], "cls is the first of its sentence"
            last = sentence_of(samples[position])[token - FIRST]
        elif token == SPECIAL.cls:
            assert levels == [0, 0]
        seen += token == SPECIAL.sep
    assert bool(seen) == ends
    assert last


@pytest.mark.parametrize("name", ["t5", "bart"])
@pytest.mark.parametrize("view", ["encoder", "decoder"])
def test_shown_text_begins_a_segment_where_the_sentence_changes_without_gaps(name: str, view: str) -> None:
    samples, seen = draw_samples(3), 0
    batch = corruption(CONFIGS[name]).apply(samples).views[view]
    for n, (tokens, levels) in enumerate(sequences(batch)):
        if not tokens:
            continue
        sentences = sentence_of(samples[int(batch.sample_positions[batch.sequence(n).start])])
        text = [(token, level) for token, level in zip(tokens, levels, strict=True) if token >= FIRST]
        for (token, (segment, _)), (other, (later, _)) in itertools.pairwise(text):
            same = sentences[token - FIRST][0] == sentences[other - FIRST][0]
            assert (segment == later) == same
            seen += not same
        assert levels[0] == [0, 0]
        for (segment, place), after in itertools.pairwise(levels):
            assert after in ([segment, place + 1], [segment + 1, 0])
    assert seen > 20


def test_what_stands_for_a_span_is_in_the_sentence_where_the_span_begins() -> None:
    sents = np.zeros(64, np.uint8)
    sents[[0, 10, 20]] = 1
    config = {"select": {"kind": "given_spans", "kinds": [], "rate": 1.0}}
    marks = np.full(64, 2, np.uint8)
    marks[8], marks[9:13] = 1, 0  # a span over the end of the first sentence
    sample = GivenSample(0, FIRST + np.arange(64), np.array([0, 64]), {"sents": sents, "spans": marks})
    views = corruption(config).apply([sample]).views
    (tokens, levels), *_ = sequences(views["encoder"])
    assert tokens[7:10] == [FIRST + 7, SPECIAL.sentinels[0], FIRST + 13]
    assert levels[7:10] == [[0, 7], [0, 8], [1, 0]]
    (tokens, levels), *_ = sequences(views["decoder"])
    assert tokens[1:5] == [SPECIAL.sentinels[0], FIRST + 8, FIRST + 9, FIRST + 10]
    assert levels[1:5] == [[0, 1], [0, 2], [0, 3], [1, 0]]


def test_reordered_sentences_are_numbered_in_the_order_shown_and_targets_in_their_own() -> None:
    config = {
        **BART,
        "select": {"kind": "each_token", "rate": 0.0},
        "layout": {"kind": "full_reconstruction", "reorder": True},
    }
    samples = draw_samples(4)
    views = corruption(config).apply(samples).views
    moved = 0
    for (shown, levels), (original, own) in zip(sequences(views["encoder"]), sequences(views["decoder"]), strict=True):
        numbers = [segment for segment, _ in levels]
        assert numbers == sorted(numbers)
        moved += shown[:-1] != original[1:]
        sentences = {token: segment for token, (segment, _) in zip(original, own, strict=True)}
        for (token, (segment, _)), (other, (later, _)) in itertools.pairwise(zip(shown[:-1], levels, strict=False)):
            assert (sentences[token] == sentences[other]) == (segment == later)
    assert moved > 5


def test_a_second_draw_has_levels_of_its_own() -> None:
    config = {**BERT, "second_draw": {"select": {"kind": "exactly_k", "rate": 0.5}}}
    views = corruption(config).apply(draw_samples(5)).views
    assert np.array_equal(views["encoder"].positions, views["decoder"].positions)


def test_a_samples_levels_do_not_depend_on_its_company() -> None:
    samples, made = draw_samples(6), corruption(T5)
    together = sequences(made.apply(samples).views["encoder"])
    alone = [each for sample in samples for each in sequences(made.apply([sample]).views["encoder"])]
    assert [each for each in together if each[0]] == [each for each in alone if each[0]]


def test_masking_on_a_device_is_refused_with_what_to_do() -> None:
    with pytest.raises(InputError, match=r"bipe.*Use training.masking=loader"):
        corruption(T5).check_device(torch.device("cpu"))
