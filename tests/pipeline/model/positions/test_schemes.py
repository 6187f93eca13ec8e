import math
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from data_prep.errors import InputError
from pipeline.model.config import ModelConfig, count_parameters
from pipeline.model.encoder_decoder import EncoderDecoder
from pipeline.model.position_config import RotaryPositions
from pipeline.model.positions.absolute import Learned, Sinusoidal
from pipeline.model.positions.alibi import Alibi, slopes
from pipeline.model.positions.rotary import Rotary
from pipeline.objectives import build_objective

SHAPE: dict[str, Any] = {"d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 4}
VOCAB = 128
SCHEMES: list[dict[str, Any]] = [
    {"positions": {"kind": "t5"}},
    {"positions": {"kind": "rope"}},
    {"positions": {"kind": "rope", "base": 500.0, "fraction": 0.5}},
    {"positions": "alibi"},
    {"positions": {"kind": "learned", "max_positions": 64}},
    {"positions": "sinusoidal"},
    {"positions": "t5", "decoder_positions": "none"},
    {"positions": "fire"},
    {"positions": {"kind": "fire", "threshold": 15.0, "width": 5}},  # one sequence is longer
    {"positions": "fire", "randomized_positions": 100},
    {"positions": "rope", "randomized_positions": 100},
    {"positions": "t5", "randomized_positions": 100},
    {"positions": "alibi", "randomized_positions": 500},
]


def config_of(scheme: dict[str, Any]) -> ModelConfig:
    return ModelConfig.model_validate({**SHAPE, **scheme})


@pytest.mark.parametrize("scheme", SCHEMES, ids=str)
def test_every_scheme_builds_what_is_counted_trains_every_parameter_and_repeats_its_bits(
    scheme: dict[str, Any], random_views
) -> None:
    config = config_of(scheme)
    objective = build_objective({"kind": "denoising"}, config, VOCAB, seed=1)
    assert sum(parameter.numel() for parameter in objective.parameters()) == count_parameters(config, VOCAB)
    views = random_views([20, 0, 11], [7, 3, 4], VOCAB, seed=0)
    losses = []
    for _ in range(2):
        objective.zero_grad()
        loss, _count = objective(views)["denoising"]
        loss.backward()
        losses.append(loss.item().hex())
    assert losses[0] == losses[1]
    for name, parameter in objective.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize("scheme", SCHEMES, ids=str)
def test_every_scheme_tells_the_order_of_an_encoders_rows(scheme: dict[str, Any], view) -> None:
    model = EncoderDecoder(config_of(scheme), VOCAB, seed=1)
    straight, swapped = model.encode(view([[5, 6, 7, 8]])), model.encode(view([[5, 7, 6, 8]]))
    assert not torch.allclose(straight[0], swapped[0], atol=1e-4)


def test_symmetric_alibi_cannot_tell_a_text_from_its_mirror_image(view) -> None:
    model = EncoderDecoder(config_of({"positions": "alibi"}), VOCAB, seed=1)
    forth, back = model.encode(view([[5, 6, 7, 8]])), model.encode(view([[8, 7, 6, 5]]))
    torch.testing.assert_close(forth, back.flip(0), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("scheme", SCHEMES, ids=str)
def test_a_document_gets_the_same_bits_whatever_lies_behind_it(scheme: dict[str, Any], view) -> None:
    model = EncoderDecoder(config_of(scheme), VOCAB, seed=1)
    alone = model.encode(view([[5, 6, 7, 8]], num_rows=9))[:4]
    beside = model.encode(view([[5, 6, 7, 8], [9, 10]], num_rows=9))[:4]
    assert torch.equal(alone, beside)


def test_turned_scores_depend_on_the_distance_alone_and_keep_their_length(view) -> None:
    batch = view([list(range(40))])
    rotation = Rotary(RotaryPositions(), head_dim=8).rotation(batch)
    q, k = torch.randn(2, 1, 3, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    turned_q, turned_k = rotation.apply(q.expand(40, -1, -1)), rotation.apply(k.expand(40, -1, -1))
    scores = torch.einsum("ihd,jhd->hij", turned_q, turned_k)
    for distance in (-7, 0, 3):
        diagonal = scores.diagonal(distance, 1, 2)
        # cosines and sines are rounded to float32
        torch.testing.assert_close(diagonal, diagonal[:, :1].expand_as(diagonal), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(turned_q.norm(dim=-1), q.norm(dim=-1).expand(40, -1), rtol=1e-6, atol=1e-6)


def test_rotary_angles_are_those_of_the_paper_and_a_fraction_keeps_the_slow_pairs_still(view) -> None:
    batch = view([list(range(5))])
    whole = Rotary(RotaryPositions(base=100.0), head_dim=8).rotation(batch)
    expected = [math.cos(3 * 100.0 ** (-2 * pair / 8)) for pair in range(4)]
    assert whole.cosines_TC[3].tolist() == pytest.approx(expected, abs=1e-7)
    half = Rotary(RotaryPositions(base=100.0, fraction=0.5), head_dim=8).rotation(batch)
    assert torch.equal(half.cosines_TC[:, :2], whole.cosines_TC[:, :2])
    assert torch.equal(half.cosines_TC[:, 2:], torch.ones(5, 2))
    assert torch.equal(half.sines_TC[:, 2:], torch.zeros(5, 2))


def test_alibi_falls_by_each_heads_slope_on_both_sides(view) -> None:
    bias = Alibi(num_heads=4, reach=0).bias(view([[1, 2, 3]]))
    reach = bias.values_HR.shape[1] // 2
    assert bias.values_HR[:, reach - 2 : reach + 3].tolist() == [
        [-2 * slope, -slope, 0.0, -slope, -2 * slope] for slope in (0.25, 0.0625, 0.015625, 0.00390625)
    ]
    assert slopes(6) == [0.25, 0.0625, 0.015625, 0.00390625, 0.5, 0.125]  # the paper's code for six heads


def test_sinusoids_are_those_of_the_paper(view) -> None:
    vectors = Sinusoidal().inputs(torch.zeros(3, 6), view([[1, 1, 1]]))
    angles = [2 / 10_000 ** (2 * pair / 6) for pair in range(3)]
    expected = [value for angle in angles for value in (math.sin(angle), math.cos(angle))]
    assert vectors[2].tolist() == pytest.approx(expected, abs=1e-7)


def test_a_sequence_longer_than_the_table_is_refused(view) -> None:
    with pytest.raises(InputError, match=r"max_positions is 4, and a sequence has position 4: give it"):
        Learned(4, 8).inputs(torch.zeros(5, 8), view([[1, 1, 1, 1, 1]]))


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"positions": "none"}, "bag of words"),
        ({"positions": "rope", "d_kv": 7}, r"d_kv \(7\) must be even"),
        (
            {"positions": {"kind": "learned", "max_positions": 10}, "randomized_positions": 20},
            r"\(20\) must not",
        ),
        ({"positions": "fourier"}, "t5"),
        ({"positions": {"kind": "rope", "fraction": 0.0}}, "greater than 0"),
    ],
)
def test_schemes_that_cannot_work_are_refused_with_the_reason(section: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        ModelConfig.model_validate({**SHAPE, **section})
