"""Objectives with a part beside the model train every architecture they say they do, and only use what they have."""

from typing import Any

import pytest
import torch

from pipeline.batch import Views
from pipeline.corruption.config import CorruptionConfig
from pipeline.corruption.corruption import Corruption
from pipeline.corruption.pieces import GivenSample
from pipeline.model.config import ModelConfig
from pipeline.objectives import bottleneck, build_objective, condenser, masked_autoencoder
from tests.recipes.flow.tracing import untouched_parameters
from tests.recipes.test_golden import SPECIAL_TOKENS, sample

SIZES: dict[str, Any] = {"d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 4, "dropout_rate": 0.1}
POSITIONS = {
    "bert": {"kind": "learned"},
    "mpnet": {"kind": "mpnet"},
    "modernbert": {"kind": "rope"},
}
IN_PLACE = {
    "select": {"kind": "exactly_k", "rate": 0.3},
    "replace": {"kind": "token_by_token"},
    "layout": {"kind": "in_place"},
}
ALL = {"select": {"kind": "exactly_k", "rate": 1.0}, "replace": {"kind": "token_by_token", "mask": 0.0, "random": 0.0}}
MASKS = {**IN_PLACE, "replace": {"kind": "token_by_token", "mask": 1.0, "random": 0.0}}
CASES: list[tuple[Any, dict[str, Any], dict[str, Any]]] = [
    (masked_autoencoder, {}, {**MASKS, "layout": {"kind": "visible_only"}}),
    (bottleneck, {"bag_of_words": 0.2}, {**IN_PLACE, "second_draw": ALL}),
    (bottleneck, {"decoder": {"kind": "weak"}}, {**IN_PLACE, "second_draw": ALL}),
    (condenser, {"early_layer": 1}, IN_PLACE),
]


def views_of(corruption: dict[str, Any]) -> Views:
    """Two documents twice."""
    config = CorruptionConfig.model_validate(corruption)
    maker = Corruption(config, SPECIAL_TOKENS, 250, 32, 4, seed=0)
    other = GivenSample(8, sample().tokens, sample().piece_offsets)
    return maker.apply([sample(), other]).to("cpu").views


@pytest.mark.parametrize(
    ("module", "section", "corruption", "architecture"),
    [(*case, architecture) for case in CASES for architecture in case[0].ARCHITECTURES],
)
def test_every_architecture_it_names_is_trained_to_the_last_parameter(
    module: Any, section: dict[str, Any], corruption: dict[str, Any], architecture: str
) -> None:
    model = ModelConfig(architecture=architecture, positions=POSITIONS[architecture], **SIZES)
    objective: Any = build_objective({"kind": module.__name__.rsplit(".")[-1], **section}, model, 250, seed=1)
    views = views_of(corruption)
    with torch.no_grad():
        for parameter in objective.parameters():  # T5's buckets and biases start at 0
            parameter.add_(0.01 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0)))
    assert not untouched_parameters(objective, views)
    terms = objective(views)
    assert objective.counts(views) == {name: count for name, (_, count) in terms.items()}
    assert all(torch.isfinite(total) and total.dtype == torch.float32 for total, _ in terms.values())
    half = objective.bfloat16()(views)
    for name, (total, _) in terms.items():
        assert abs(half[name][0].item() / total.item() - 1) < 0.03, name  # bf16 has 8 bits of mantissa
        assert half[name][0].dtype == torch.float32
