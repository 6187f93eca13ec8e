import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from data_prep.errors import SpanwrightError
from pipeline.export.huggingface import export_hf
from pipeline.export.verify import Original, verify_export
from pipeline.model.config import ModelConfig
from pipeline.objectives import build_objective

VOCAB = 1000


def make_weights(config: ModelConfig) -> dict[str, torch.Tensor]:
    objective = build_objective({"kind": "denoising"}, config, VOCAB, seed=2)
    return {name: parameter.detach() for name, parameter in objective.named_parameters()}


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
@pytest.mark.parametrize("changes", [{}, {"tie_word_embeddings": False}, {"num_decoder_layers": 3}])
def test_a_true_export_passes_with_its_figures(
    changes: dict, dtype: str, model_config, tokenizer_folder: Path, texts, random_views, tmp_path: Path
) -> None:
    config = model_config.model_copy(update=changes)
    weights = make_weights(config)
    out = export_hf(weights, config, tokenizer_folder, tmp_path / "hf", dtype=dtype)
    views = [random_views([50, 0, 200], [12, 0, 30], VOCAB, seed=0), random_views([5], [3], VOCAB, seed=1)]
    figures = verify_export(out, Original(weights, config, tokenizer_folder, views, texts[:1], dtype))
    assert figures["logits"]["sequences"] == 3
    assert figures["logits"]["logits"] == (12 + 30 + 3) * 1024
    assert 0 <= figures["logits"]["max_abs_difference"] <= 1e-4
    assert figures["tokenizer"]["different"] == 0
    assert json.loads(json.dumps(figures)) == figures
    capped = verify_export(out, Original(weights, config, tokenizer_folder, views, [], dtype, max_sequences=1))
    assert capped["logits"]["sequences"] == 1


@pytest.mark.parametrize("name", ["encoder.block.1.layer.1.DenseReluDense.wi_0.weight", "shared.weight"])
def test_one_changed_weight_is_noticed(
    name: str, weights, model_config, tokenizer_folder: Path, random_views, tmp_path: Path
) -> None:
    out = export_hf(weights, model_config, tokenizer_folder, tmp_path / "hf")
    stored = load_file(out / "model.safetensors")
    stored[name][9] += 0.5
    save_file(stored, out / "model.safetensors", metadata={"format": "pt"})
    views = [random_views([50], [12], VOCAB, seed=0)]
    views[0]["encoder"].tokens[3] = 9
    with pytest.raises(SpanwrightError, match=r"logits differ by .* allowed is 0\.0001"):
        verify_export(out, Original(weights, model_config, tokenizer_folder, views, []))


def test_other_token_ids_are_noticed(
    weights, model_config, tokenizer_folder: Path, texts, random_views, tmp_path: Path
) -> None:
    out = export_hf(weights, model_config, tokenizer_folder, tmp_path / "hf")
    path = out / "tokenizer.json"
    content = json.loads(path.read_text())
    vocabulary = content["model"]["vocab"]
    vocabulary[600], vocabulary[601] = vocabulary[601], vocabulary[600]
    path.write_text(json.dumps(content))
    views = [random_views([5], [3], VOCAB, seed=0)]
    with pytest.raises(SpanwrightError, match="gives other ids than ours"):
        verify_export(out, Original(weights, model_config, tokenizer_folder, views, texts))


def test_nothing_to_compare_is_no_success(weights, model_config, tokenizer_folder: Path, tmp_path: Path) -> None:
    out = export_hf(weights, model_config, tokenizer_folder, tmp_path / "hf")
    with pytest.raises(SpanwrightError, match="no held-out sequence"):
        verify_export(out, Original(weights, model_config, tokenizer_folder, [], []))
