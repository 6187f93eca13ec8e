"""A mixture gives each sample one part, drawn by weight from its position, exactly as the part alone would."""

import re
from typing import Any

import numpy as np
import pytest

from data_prep.errors import InputError
from data_prep.tokenizer.special import SpecialTokens
from pipeline.batch import IGNORED_LABEL, Batch
from pipeline.corruption.config import CorruptionConfig
from pipeline.corruption.corruption import Corruption
from pipeline.corruption.mixture import EACH_ITS_OWN, StepNumbers
from pipeline.corruption.pieces import GivenSample
from pipeline.corruption.sampling import Int64Array

WINDOW, MAX_PIECES, VOCAB_SIZE, SEED = 40, 3, 300, 5
SPECIAL = SpecialTokens()
SPANS = {"select": {"kind": "t5_spans", "noise_density": 0.4}, "mode": 3}
SUFFIX = {"select": {"kind": "suffix"}, "replace": {"kind": "dropped"}, "weight": 3.0}
FULL = {"select": {"kind": "poisson_spans"}, "replace": {"kind": "mask_per_span"},
        "layout": {"kind": "full_reconstruction"}, "mode": 0}  # fmt: skip
PARTS = [SPANS, SUFFIX, FULL]


def corruption(parts: list[dict[str, Any]], steps: StepNumbers = EACH_ITS_OWN, **common: Any) -> Corruption:
    config = CorruptionConfig.model_validate({"mixture": parts, **common})
    return Corruption(config, SPECIAL, VOCAB_SIZE, WINDOW, MAX_PIECES, SEED, steps=steps)


def samples(positions: range) -> list[GivenSample]:
    """Windows of one to three pieces, one of them perhaps empty or short."""
    made = []
    for position in positions:
        draw = np.random.Generator(np.random.PCG64(position))
        cuts = np.sort(draw.integers(0, WINDOW + 1, position % 3))
        tokens = draw.integers(171, VOCAB_SIZE, WINDOW)
        made.append(GivenSample(position, tokens, np.array([0, *cuts, WINDOW])))
    return made


def drawn(mixture: Corruption, positions: Int64Array) -> Int64Array:
    assert mixture._mixture is not None
    return mixture._mixture.choose(positions)


def sequences(view: Batch, num_pieces: int) -> list[tuple[list[int], list[int]]]:
    labels = np.full(len(view.tokens), IGNORED_LABEL) if view.labels is None else view.labels
    return [(view.tokens[view.sequence(n)].tolist(), labels[view.sequence(n)].tolist()) for n in range(num_pieces)]


def test_every_sample_is_what_its_part_makes_of_it_with_the_mode_before_the_encoders_text() -> None:
    mixture, some = corruption(PARTS), samples(range(30))
    views = mixture.apply(some).views
    number = drawn(mixture, np.arange(30))
    assert set(number.tolist()) == {0, 1, 2}
    first = 0
    for sample, part in zip(some, number.tolist(), strict=True):
        config = mixture.config.mixture[part]
        alone = Corruption(config.corruption, SPECIAL, VOCAB_SIZE, WINDOW, MAX_PIECES, SEED, f"corruption/{part}")
        own = alone.apply([sample]).views
        pieces = len(sample.piece_offsets) - 1
        mode = [] if config.mode is None else [SPECIAL.spares[config.mode]]
        for n, ((tokens, _), (targets, labels)) in enumerate(
            zip(sequences(own["encoder"], pieces), sequences(own["decoder"], pieces), strict=True), start=first
        ):
            assert views["encoder"].tokens[views["encoder"].sequence(n)].tolist() == (mode if tokens else []) + tokens
            assert views["decoder"].tokens[views["decoder"].sequence(n)].tolist() == targets
            assert views["decoder"].labels[views["decoder"].sequence(n)].tolist() == labels
        first += pieces
    for view in views.values():
        rows = view.num_rows
        lengths = np.diff(view.cu_seqlens)
        assert view.positions[:rows].tolist() == [place for length in lengths for place in range(length)]
        assert (np.diff(view.sample_positions[:rows]) >= 0).all()


def test_a_sample_does_not_depend_on_the_samples_beside_it() -> None:
    mixture = corruption(PARTS)
    together = mixture.apply(samples(range(12))).views
    for sample in samples(range(12)):
        alone = mixture.apply([sample]).views
        for name, view in alone.items():
            own = together[name].sample_positions == sample.position
            rows = slice(0, view.num_rows)
            assert together[name].tokens[own].tolist() == view.tokens[rows].tolist()
            assert together[name].sample_rows[own].tolist() == view.sample_rows[rows].tolist()


def test_parts_are_drawn_by_weight_and_per_step_once_for_all_samples_of_a_step() -> None:
    number = drawn(corruption(PARTS), np.arange(20_000))
    shares = np.bincount(number, minlength=3) / len(number)
    deviation = np.sqrt(np.array([0.2, 0.6, 0.2]) * np.array([0.8, 0.4, 0.8]) / len(number))
    assert (np.abs(shares - [0.2, 0.6, 0.2]) < 4 * deviation).all()

    by_step = drawn(corruption(PARTS, steps=StepNumbers(8), mixture_per="step"), np.arange(8 * 500)).reshape(500, 8)
    assert (by_step == by_step[:, :1]).all()
    assert np.array_equal(by_step[:, 0], number[:500])


def test_a_stack_is_one_view_with_the_decoders_rows_after_the_encoders() -> None:
    joint = {"stack": ["encoder", "decoder"], "mode": 1}
    text = {"stack": ["encoder"], "select": {"kind": "exactly_k"}, "replace": {"kind": "token_by_token"},
            "layout": {"kind": "in_place", "ends": False}}  # fmt: skip
    mixture, some = corruption([joint, text]), samples(range(6))
    view = mixture.apply(some).views
    assert view.keys() == {"encoder"}
    number = drawn(mixture, np.arange(6))
    assert set(number.tolist()) == {0, 1}
    first = 0
    for sample, part in zip(some, number.tolist(), strict=True):
        pieces = len(sample.piece_offsets) - 1
        config = mixture.config.mixture[part].corruption
        own = Corruption(config, SPECIAL, VOCAB_SIZE, WINDOW, MAX_PIECES, SEED, f"corruption/{part}").apply([sample])
        for n in range(pieces):
            rows = view["encoder"].sequence(first + n)
            source = own.views["encoder"].tokens[own.views["encoder"].sequence(n)].tolist()
            if part == 1:
                expected, types = source, [0] * len(source)
            else:
                decoder = own.views["decoder"]
                targets = decoder.tokens[decoder.sequence(n)].tolist()
                mode = [SPECIAL.spares[1]] if source else []
                expected, types = mode + source + targets, [0] * (len(source) + len(mode)) + [1] * len(targets)
                assert view["encoder"].labels[rows].tolist()[len(mode + source) :] == (
                    decoder.labels[decoder.sequence(n)].tolist()
                )
            assert view["encoder"].tokens[rows].tolist() == expected
            assert view["encoder"].token_types[rows].tolist() == types
        first += pieces


@pytest.mark.parametrize(
    ("parts", "common", "message"),
    [
        (
            [SPANS, {"layout": {"kind": "in_place"}, "replace": {"kind": "token_by_token"}}],
            {},
            r"part 1 gives encoder, part 0 gives encoder and decoder\. Use layouts of the same views",
        ),
        (
            [{"stack": ["decoder"], "layout": {"kind": "in_place"}, "replace": {"kind": "token_by_token"}}],
            {},
            r"part 0 stacks the decoder view, which layout in_place does not give",
        ),
        ([{"select": {"kind": "t5_spans", "noise_density": 0.9}, "layout": {"kind": "permuted"}}], {}, r"part 0: .*"),
        (
            [
                {
                    "layout": {"kind": "in_place", "pairs": {"kind": "order"}},
                    "replace": {"kind": "token_by_token"},
                }
            ],
            {},
            r"part 0 has layout\.pairs, which a mixture has no place for",
        ),
        (
            [SPANS],
            {"second_draw": {"select": {"kind": "exactly_k"}}},
            r"second_draw and mixture are both given",
        ),
    ],
)
def test_parts_that_do_not_fit_are_refused_by_number(
    parts: list[dict[str, Any]], common: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError) as error:
        corruption(parts, **common)
    assert re.search(message, str(error.value))


def test_a_part_says_only_what_differs() -> None:
    config = CorruptionConfig.model_validate({"replace": {"kind": "dropped"}, "mixture": [{"mode": 1}, SPANS, FULL]})
    assert [part.replace.kind for part in config.mixture] == ["dropped", "dropped", "mask_per_span"]
    assert CorruptionConfig.model_validate(config.model_dump(mode="json")) == config
