"""BiPE: places within segments enter as vectors, distances between segments as angles or as a bias."""

import dataclasses
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from pipeline.batch import Batch
from pipeline.model.config import ModelConfig, count_parameters
from pipeline.model.encoder_decoder import EncoderDecoder
from pipeline.model.position_config import BipePositions
from pipeline.model.positions.bipe import Bipe
from pipeline.objectives import build_objective
from tests.pipeline.conftest import make_random_views, make_view

SHAPE: dict[str, Any] = {"d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 4}
VOCAB = 128
KINDS: list[dict[str, Any]] = [
    {"kind": "bipe"},
    {"kind": "bipe", "within": "learned", "max_positions": 16},
    {"kind": "bipe", "between": "alibi"},
]


def config_of(scheme: dict[str, Any], **others: Any) -> ModelConfig:
    return ModelConfig.model_validate({**SHAPE, "positions": scheme, **others})


def in_segments(view: Batch, size: int) -> Batch:
    """The view with segments of `size` rows."""
    levels = torch.stack([view.positions // size, view.positions % size], dim=1)
    return dataclasses.replace(view, positions=levels)


@pytest.mark.parametrize("scheme", KINDS, ids=str)
def test_it_builds_what_is_counted_trains_every_parameter_and_repeats_its_bits(scheme: dict[str, Any]) -> None:
    config = config_of(scheme)
    objective = build_objective({"kind": "denoising"}, config, VOCAB, seed=1)
    assert sum(parameter.numel() for parameter in objective.parameters()) == count_parameters(config, VOCAB)
    views = {name: in_segments(view, 4) for name, view in make_random_views([20, 0, 11], [7, 3, 4], VOCAB, 0).items()}
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


@pytest.mark.parametrize("scheme", KINDS[:2], ids=str)
def test_an_encoder_tells_order_within_a_segment_and_of_segments(scheme: dict[str, Any]) -> None:
    model = EncoderDecoder(config_of(scheme), VOCAB, seed=1)
    texts = [[5, 6, 7, 8], [6, 5, 7, 8], [7, 8, 5, 6]]
    first, *others = (model.encode(in_segments(make_view([text]), 2)).sort(0).values for text in texts)
    for other in others:
        assert not torch.allclose(first, other, atol=1e-4)


def test_vectors_know_places_alone_and_angles_segments_alone() -> None:
    scheme, view = Bipe(BipePositions(), config_of({"kind": "bipe"})), in_segments(make_view([[1] * 12]), 4)
    vectors, rotation = scheme.inputs(torch.zeros(12, 32), view), scheme.rotation(view)
    assert rotation is not None
    assert scheme.bias(view) is None
    assert torch.equal(vectors[:4], vectors[4:8])
    assert not torch.equal(vectors[0], vectors[1])
    assert torch.equal(rotation.sines_TC[0], rotation.sines_TC[3])
    assert not torch.equal(rotation.sines_TC[3], rotation.sines_TC[4])


def test_the_bias_falls_with_the_segments_between() -> None:
    scheme = Bipe(BipePositions(between="alibi"), config_of({"kind": "bipe"}))
    view = in_segments(make_view([[1] * 6]), 2)
    bias = scheme.bias(view)
    assert bias is not None
    assert scheme.rotation(view) is None
    assert bias.q_positions is not None
    assert bias.q_positions.tolist() == [0, 0, 1, 1, 2, 2]
    reach = bias.values_HR.shape[1] // 2
    assert bias.values_HR[0, reach : reach + 3].tolist() == [0.0, -0.25, -0.5]


def test_rows_with_two_numbers_are_not_drawn_anew() -> None:
    with pytest.raises(ValidationError, match="leave one of them out"):
        config_of({"kind": "bipe"}, randomized_positions=100)
    with pytest.raises(ValidationError, match=r"d_kv \(7\) must be even"):
        config_of({"kind": "bipe"}, d_kv=7)
    config_of({"kind": "bipe", "between": "alibi"}, d_kv=7)
