"""Every architecture in its stock class: the same logits, from a folder that from_pretrained loads."""

from pathlib import Path

import pytest
import torch

from pipeline.export.compare import compare_logits, compare_states
from pipeline.export.huggingface import export_encoder, export_hf
from pipeline.export.libraries import quiet_transformers
from pipeline.model.architecture import ARCHITECTURES
from pipeline.model.config import ModelConfig
from pipeline.model.encoder_decoder import build_model

POSITIONS = {
    "t5": "t5",
    "bart": {"kind": "learned", "max_positions": 160},
    "bert": {"kind": "learned", "max_positions": 160},
    "electra": {"kind": "learned", "max_positions": 160},
    "mpnet": {"kind": "mpnet", "max_positions": 160},
    "modernbert": {"kind": "rope", "base": 1000.0, "local_base": 100.0},
}
VOCAB = 1000
# Logits and states of size about 10 in float64, but for rotations, which transformers makes in float32.
ROUNDING = dict.fromkeys(ARCHITECTURES, 1e-12) | {"modernbert": 5e-6}


def config_of(architecture: str) -> ModelConfig:
    # Deviations large enough that every part matters: at 0.02 a small model's layers hardly change its rows.
    sizes = {"d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 4, "num_heads": 4}
    sizes |= {} if architecture == "t5" else {"initializer_factor": 4.0}
    sizes |= {"layer_norm_epsilon": 1e-5} if architecture == "bart" else {}
    local = {"local_attention": 8} if architecture == "modernbert" else {}
    return ModelConfig.model_validate(
        {"architecture": architecture, "positions": POSITIONS[architecture], **sizes, **local}
    )


@torch.no_grad()
def random_model(architecture: str) -> torch.nn.Module:
    """A model whose norms and biases are not at their first values either."""
    model = build_model(config_of(architecture), VOCAB, seed=3).eval()
    generator = torch.Generator().manual_seed(1)
    for parameter in model.parameters():
        if parameter.dim() == 1:
            parameter += 0.3 * torch.randn(parameter.shape, generator=generator)
    return model


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_stock_class_gives_the_same_logits(
    architecture: str, tmp_path: Path, tokenizer_folder: Path, random_views
) -> None:
    model = random_model(architecture)
    weights = {f"model.{name}": parameter for name, parameter in model.named_parameters()}
    folder = export_hf(weights, model.config, tokenizer_folder, tmp_path / "hf")
    views = random_views([40, 1, 17], [9, 4, 30], VOCAB, seed=2)
    figures = compare_logits(folder, weights, model.config, [views])
    assert figures["sequences"] == 3
    assert figures["max_abs_difference"] < ROUNDING[architecture]
    by_block = compare_logits(folder, weights, model.config, [views], by_block=True)
    assert by_block == figures


@pytest.mark.parametrize("num_layers", [None, 2])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_encoder_alone_gives_the_same_states_whole_or_cut_off(
    architecture: str, num_layers: int | None, tmp_path: Path, tokenizer_folder: Path, random_views
) -> None:
    model = random_model(architecture)
    weights = {f"model.{name}": parameter for name, parameter in model.named_parameters()}
    folder = export_encoder(weights, model.config, tokenizer_folder, tmp_path / "encoder", num_layers=num_layers)
    views = random_views([40, 1, 17], [9, 4, 30], VOCAB, seed=2)
    figures = compare_states(folder, weights, model.config, [views], num_layers=num_layers)
    assert figures["states"] == (40 + 1 + 17) * model.config.d_model
    assert figures["max_abs_difference"] < ROUNDING[architecture]
    if num_layers:
        whole = compare_states(folder, weights, model.config, [views])
        assert whole["max_abs_difference"] > 0.1, "half of the layers give other states"
    else:
        assert compare_states(folder, weights, model.config, [views], by_block=True) == figures


def test_an_encoders_tokenizer_puts_cls_and_sep_around_a_text_and_types_a_pair(
    tmp_path: Path, tokenizer_folder: Path
) -> None:
    model = random_model("bert")
    weights = {f"model.{name}": parameter for name, parameter in model.named_parameters()}
    folder = export_hf(weights, model.config, tokenizer_folder, tmp_path / "hf")
    tokenizer = quiet_transformers().AutoTokenizer.from_pretrained(folder)
    special = [tokenizer.cls_token_id, tokenizer.sep_token_id, tokenizer.mask_token_id]
    assert special == [5, 6, 4]
    bare = tokenizer("import os", add_special_tokens=False)["input_ids"]
    pair = tokenizer("import os", "import os")
    assert pair["input_ids"] == [5, *bare, 6, *bare, 6]
    assert pair["token_type_ids"] == [0] * (len(bare) + 2) + [1] * (len(bare) + 1)
