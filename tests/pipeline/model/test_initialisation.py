import pytest
import torch

from pipeline.model.config import ModelConfig
from pipeline.model.encoder_decoder import EncoderDecoder
from pipeline.model.initialisation import parameter_generator, standard_deviation

CONFIG = ModelConfig(d_model=64, d_kv=16, d_ff=128, num_layers=2, num_heads=4, tie_word_embeddings=False)


def weights(config: ModelConfig, seed: int) -> dict[str, torch.Tensor]:
    return dict(EncoderDecoder(config, vocab_size=512, seed=seed).named_parameters())


def test_a_parameter_depends_on_the_seed_and_its_name_alone() -> None:
    torch.manual_seed(1)
    first = weights(CONFIG, seed=4)
    torch.manual_seed(2)  # the global generator plays no part
    deeper = weights(CONFIG.model_copy(update={"num_layers": 3}), seed=4)
    for name, tensor in first.items():
        assert torch.equal(tensor, deeper[name]), name
    other = weights(CONFIG, seed=5)
    drawn = [name for name in first if standard_deviation(name, CONFIG) is not None]
    assert not any(torch.equal(first[name], other[name]) for name in drawn)


def test_no_two_parameters_share_their_draws() -> None:
    drawn = [tensor.flatten()[:8].tolist() for tensor in weights(CONFIG, 0).values() if tensor.dim() == 2]
    assert len({tuple(values) for values in drawn}) == len(drawn)


@pytest.mark.parametrize("factor", [1.0, 0.5])
def test_deviations_are_t5s(factor: float) -> None:
    config = CONFIG.model_copy(update={"initializer_factor": factor})
    expected = {
        "embedding.weight": 1.0,
        "head.weight": 64**-0.5,
        "encoder.blocks.1.self_attention.query.weight": (64 * 16) ** -0.5,
        "decoder.blocks.0.cross_attention.key.weight": 64**-0.5,
        "decoder.blocks.0.self_attention.value.weight": 64**-0.5,
        "encoder.blocks.0.self_attention.output.weight": (4 * 16) ** -0.5,
        "encoder.blocks.0.feed_forward.gate.weight": 64**-0.5,
        "encoder.blocks.0.feed_forward.up.weight": 64**-0.5,
        "decoder.blocks.1.feed_forward.down.weight": 128**-0.5,
        "decoder.positions.weight": 64**-0.5,
    }
    drawn = weights(config, 1)
    for name, deviation in expected.items():
        samples = drawn[name].numel()
        assert abs(drawn[name].std().item() / (factor * deviation) - 1) < 5 / (2 * samples) ** 0.5, name
    assert drawn["encoder.norm.weight"].unique().tolist() == [factor]
    assert drawn["decoder.blocks.0.cross_norm.weight"].unique().tolist() == [factor]


def test_the_first_numbers_of_a_known_parameter_never_change() -> None:
    """Weights must be the same tomorrow: a changed scheme would break every recorded run."""
    numbers = torch.randint(0, 2**31, (3,), generator=parameter_generator(0, "embedding.weight"))
    assert numbers.tolist() == [2059498459, 22022978, 1828232907]
