"""Every architecture: counted, initialised, trained whole."""

import pytest

from pipeline.model.architecture import ARCHITECTURES
from pipeline.model.config import ModelConfig, count_parameters
from pipeline.model.encoder_decoder import build_model

POSITIONS = {
    "t5": "t5",
    "bart": {"kind": "learned", "max_positions": 160},
    "bert": {"kind": "learned", "max_positions": 160},
    "electra": {"kind": "learned", "max_positions": 160},
    "mpnet": {"kind": "mpnet", "max_positions": 160},
    "modernbert": {"kind": "rope", "base": 1000.0, "local_base": 100.0},
}
VOCAB = 200


def config_of(architecture: str) -> ModelConfig:
    # Deviations large enough that every part matters: at 0.02 a small model's layers hardly change its rows.
    sizes = {"d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 4, "num_heads": 4, "initializer_factor": 4.0}
    local = {"local_attention": 8} if architecture == "modernbert" else {}
    return ModelConfig.model_validate(
        {"architecture": architecture, "positions": POSITIONS[architecture], **sizes, **local}
    )


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_closed_form_counts_what_the_model_has(architecture: str) -> None:
    model = build_model(config_of(architecture), VOCAB, seed=0)
    assert sum(parameter.numel() for parameter in model.parameters()) == count_parameters(model.config, VOCAB)


@pytest.mark.parametrize("architecture", [name for name, layers in ARCHITECTURES.items() if layers.deviation])
def test_matrices_start_at_the_architectures_deviation_and_biases_at_zero(architecture: str) -> None:
    model = build_model(config_of(architecture).model_copy(update={"initializer_factor": 1.0}), VOCAB, seed=0)
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            assert not parameter.any(), name
        elif parameter.dim() == 1:
            assert bool((parameter == 1).all()), name
        else:
            assert abs(parameter.std().item() / 0.02 - 1) < 5 / (2 * parameter.numel()) ** 0.5, name


@pytest.mark.parametrize("architecture", [name for name, layers in ARCHITECTURES.items() if not layers.has_decoder])
def test_every_parameter_of_an_encoder_is_trained(architecture: str, random_views) -> None:
    model = build_model(config_of(architecture), VOCAB, seed=0)
    view = random_views([40, 1, 17], [1, 1, 1], VOCAB, seed=2)["encoder"]
    model.head(model.encode(view), view.tokens).backward()
    assert [name for name, parameter in model.named_parameters() if parameter.grad is None] == []


def test_a_local_layer_sees_its_window_and_a_global_one_everything(random_views) -> None:
    view = random_views([64], [1], VOCAB, seed=2)["encoder"]
    for layers, expected in ((2, 4), (4, 63)):  # global and local: 4 to each side; then local and global again
        model = build_model(config_of("modernbert").model_copy(update={"num_layers": layers}), VOCAB, seed=0)
        for block in model.encoder.blocks[:1]:  # the first layer, a global one, passes nothing on
            block.self_attention.output.weight.data.zero_()
        embedded = model.embed(view).detach().requires_grad_()
        model.encoder.encode(embedded, view)[0, 0].backward()
        reached = embedded.grad[:64].abs().sum(1).nonzero().squeeze(1)
        assert reached.max() == expected
