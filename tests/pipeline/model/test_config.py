import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError
from ruamel.yaml import YAML

import configs
from pipeline.model.config import ModelConfig, count_parameters, padded_vocab_size
from pipeline.model.encoder_decoder import EncoderDecoder

MODELS = Path(next(iter(configs.__path__))) / "models"


def load(name: str) -> ModelConfig:
    return ModelConfig(**YAML(typ="safe").load(MODELS / f"{name}.yaml"))


@pytest.mark.parametrize(
    ("name", "vocab_size", "parameters"),
    [
        ("tiny", 8192, 8_394_496),
        ("small", 32128, 60_511_616),  # T5 v1.1's sizes as transformers builds them, tied
        ("base", 32128, 222_903_552),
        ("large", 32128, 750_251_008),
        ("xl", 32128, 2_783_959_040),
    ],
)
def test_each_size_has_the_parameters_it_is_known_for(name: str, vocab_size: int, parameters: int) -> None:
    assert count_parameters(load(name), vocab_size) == parameters


def test_every_model_file_is_tested() -> None:
    assert sorted(path.stem for path in MODELS.glob("*.yaml")) == ["base", "large", "small", "tiny", "xl"]


@pytest.mark.parametrize("tie", [True, False])
@pytest.mark.parametrize("decoder_layers", [None, 3])
def test_the_closed_form_counts_what_the_model_has(tie: bool, decoder_layers: int | None) -> None:
    config = ModelConfig(
        d_model=24,
        d_kv=5,
        d_ff=40,
        num_layers=2,
        num_decoder_layers=decoder_layers,
        num_heads=3,
        tie_word_embeddings=tie,
    )
    model = EncoderDecoder(config, vocab_size=130, seed=0)
    assert sum(parameter.numel() for parameter in model.parameters()) == count_parameters(config, 130)


def test_the_vocabulary_is_padded_to_a_multiple_of_64() -> None:
    assert [padded_vocab_size(size) for size in (1, 64, 65, 32128)] == [64, 64, 128, 32128]


def test_a_distance_inside_the_exact_buckets_is_refused_with_both_values() -> None:
    with pytest.raises(ValidationError, match=r"\(16\) must be larger than half of .* \(32\)"):
        ModelConfig(d_model=8, d_ff=8, num_layers=1, num_heads=1, relative_attention_max_distance=16)


def test_reading_a_model_config_imports_no_torch() -> None:
    code = "import sys, pipeline.model.config, pipeline.export.config; print('torch' in sys.modules)"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "False"
