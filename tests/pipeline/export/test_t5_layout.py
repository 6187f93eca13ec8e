import pytest
from transformers import T5Config, T5ForConditionalGeneration

from data_prep.errors import SpanwrightError
from pipeline.export.layouts.t5 import config_fields, t5_name
from pipeline.export.weights import ModelWeights
from pipeline.model.config import ModelConfig
from pipeline.objectives import build_objective

UNEVEN = ModelConfig(d_model=16, d_kv=4, d_ff=24, num_layers=1, num_decoder_layers=3, num_heads=2)


def test_every_parameter_has_its_place_and_no_place_is_left_empty() -> None:
    ours = build_objective({"kind": "denoising"}, UNEVEN, 64, seed=0)
    theirs = T5ForConditionalGeneration(T5Config(**config_fields(UNEVEN, 64)))
    weights = ModelWeights(dict(ours.named_parameters()))
    shapes = {t5_name(name): tuple(tensor.shape) for name, tensor in weights.items()}
    assert len(shapes) == len(list(ours.parameters()))
    assert shapes == {name: tuple(tensor.shape) for name, tensor in theirs.named_parameters()}


@pytest.mark.parametrize(
    "name",
    ["bottleneck.weight", "encoder.blocks.0.mixer.weight", "encoder.blocks.0.feed_forward.x.weight"],
)
def test_a_parameter_t5_does_not_have_is_refused_by_name(name: str) -> None:
    with pytest.raises(SpanwrightError, match=name.replace(".", r"\.")):
        t5_name(name)
