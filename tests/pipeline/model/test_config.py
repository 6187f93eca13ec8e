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


SIZES = [
    ("tiny", 8192, 8_394_496),
    ("small", 32128, 60_511_616),  # T5 v1.1's sizes as transformers builds them, tied
    ("base", 32128, 222_903_552),
    ("large", 32128, 750_251_008),
    ("xl", 32128, 2_783_959_040),
    ("bert_tiny", 30522, 4_417_472),  # the encoders and BART as their papers and transformers have them, the
    ("bert_mini", 30522, 11_203_136),  # vocabulary padded to a multiple of 64, without BERT's pooler
    ("bert_small", 30522, 28_798_272),
    ("bert_base", 30522, 109_518_912),
    ("bert_large", 30522, 335_180_608),
    ("electra_tiny", 30522, 4_386_817),
    ("electra_base", 30522, 109_487_617),
    ("mpnet_tiny", 30527, 4_417_280),
    ("mpnet_base", 30527, 109_517_760),
    ("modernbert_tiny", 50368, 6_932_672),
    ("modernbert_base", 50368, 149_655_232),
    ("modernbert_large", 50368, 395_881_664),
    ("bart_tiny", 50265, 7_627_264),
    ("bart_base", 50265, 139_447_296),
    ("bart_large", 50265, 406_327_296),
]


def load(name: str) -> ModelConfig:
    return ModelConfig(**YAML(typ="safe").load(MODELS / f"{name}.yaml"))


@pytest.mark.parametrize(("name", "vocab_size", "parameters"), SIZES)
def test_each_size_has_the_parameters_it_is_known_for(name: str, vocab_size: int, parameters: int) -> None:
    assert count_parameters(load(name), vocab_size) == parameters


def test_every_model_file_is_tested() -> None:
    assert {path.stem for path in MODELS.glob("*.yaml")} == {name for name, _, _ in SIZES}


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
