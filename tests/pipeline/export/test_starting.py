"""Checkpoints that transformers itself has written, read as a run's first weights."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer as Backend
from tokenizers import models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from data_prep.errors import InputError
from data_prep.tokenizer import Tokenizer
from pipeline.export.compare import compare_logits
from pipeline.export.layouts import layout_of
from pipeline.export.libraries import quiet_transformers
from pipeline.export.starting import first_weights
from pipeline.export.tokenizer import export_tokenizer
from pipeline.model.config import ModelConfig
from tests.pipeline.export.test_stock_layouts import ROUNDING, VOCAB, config_of

ROWS = 1024  # of the embedding: the vocabulary padded


@torch.no_grad()
def written_by_transformers(config: ModelConfig, tokenizer_folder: Path, out: Path, rows: int = ROWS) -> Path:
    """A folder of the stock class's own save_pretrained, every number drawn, with our tokenizer in it."""
    model_class = getattr(quiet_transformers(), layout_of(config).HEAD_CLASS)
    fields = {**layout_of(config).config_fields(config, rows), "pad_token_id": 0}
    model = model_class(model_class.config_class(**fields))
    generator = torch.Generator().manual_seed(4)
    for parameter in model.parameters():
        parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))
    model.save_pretrained(out)
    export_tokenizer(tokenizer_folder, out, config.layers)
    return out


@pytest.mark.parametrize("architecture", ["t5", "bart", "bert", "modernbert", "mpnet", "electra"])
def test_the_first_logits_are_those_of_the_checkpoint(
    architecture: str, tokenizer_folder: Path, random_views, tmp_path: Path
) -> None:
    config = config_of(architecture)
    folder = written_by_transformers(config, tokenizer_folder, tmp_path / "hf")
    found = first_weights(folder, config, Tokenizer.load(tokenizer_folder))
    assert (found.num_copied, found.num_averaged) == (VOCAB, 0)
    figures = compare_logits(folder, found.tensors, config, [random_views([40, 1, 17], [9, 4, 30], VOCAB, seed=2)])
    assert figures["max_abs_difference"] < ROUNDING[architecture]


def test_norms_by_their_old_names_and_a_body_without_its_prefix_are_read_too(
    tokenizer_folder: Path, tmp_path: Path
) -> None:
    config, tokenizer = config_of("bert"), Tokenizer.load(tokenizer_folder)
    folder = written_by_transformers(config, tokenizer_folder, tmp_path / "hf")
    expected = first_weights(folder, config, tokenizer).tensors
    stored = load_file(folder / "model.safetensors")
    old = {name.removeprefix("bert.").replace("LayerNorm.weight", "LayerNorm.gamma"): t for name, t in stored.items()}
    assert old.keys() != stored.keys()
    save_file({name: t.contiguous() for name, t in old.items()}, folder / "model.safetensors")
    found = first_weights(folder, config, tokenizer).tensors
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_another_vocabulary_gives_each_piece_its_row_or_the_mean_of_its_parts(
    tokenizer_folder: Path, tmp_path: Path
) -> None:
    config, tokenizer = config_of("bert"), Tokenizer.load(tokenizer_folder)
    words = ["[UNK]", "[PAD]", "[CLS]", "[SEP]", "[MASK]", "self", "##s", "re", "##turn", "d", "##ef"]
    folder = written_by_transformers(config, tokenizer_folder, tmp_path / "hf", rows=len(words))
    (folder / "spiece.model").unlink()
    backend = Backend(models.WordPiece({word: index for index, word in enumerate(words)}, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = {"unk_token": "[UNK]", "pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    PreTrainedTokenizerFast(tokenizer_object=backend, mask_token="[MASK]", **special).save_pretrained(folder)
    theirs = load_file(folder / "model.safetensors")["bert.embeddings.word_embeddings.weight"]
    found = first_weights(folder, config, tokenizer)
    ours = found.tensors["model.embedding.weight"]
    ids = {tokenizer.id_to_piece(index): index for index in range(tokenizer.vocab_size)}
    assert torch.equal(ours[tokenizer.special.mask], theirs[4])
    assert torch.equal(ours[ids["s"]], theirs[words.index("##s")])
    assert torch.equal(ours[ids["\u2581return"]], theirs[[7, 8]].mean(0))
    assert torch.equal(ours[tokenizer.special.eos], theirs.mean(0)), "no such token there"
    assert found.num_copied + found.num_averaged == VOCAB
    assert 5 < found.num_copied < 100


def test_what_is_not_safetensors_is_not_read(tokenizer_folder: Path, tmp_path: Path) -> None:
    config = config_of("bert")
    folder = written_by_transformers(config, tokenizer_folder, tmp_path / "hf")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(InputError, match=r"holds no model\.safetensors.*save_pretrained"):
        first_weights(folder, config, Tokenizer.load(tokenizer_folder))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"d_ff": 64}, r"its intermediate_size is 48, and model\.d_ff of this run gives 64"),
        ({"num_layers": 2}, r"its num_hidden_layers is 4, and model\.num_layers of this run gives 2"),
        ({"layer_norm_epsilon": 1e-5}, r"its layer_norm_eps is 1e-06, and model\.layer_norm_epsilon of .* 1e-05"),
    ],
)
def test_another_size_names_the_field_and_both_values(
    changes: dict, message: str, tokenizer_folder: Path, tmp_path: Path
) -> None:
    folder = written_by_transformers(config_of("bert"), tokenizer_folder, tmp_path / "hf")
    with pytest.raises(InputError, match=message):
        first_weights(folder, config_of("bert").model_copy(update=changes), Tokenizer.load(tokenizer_folder))
    with pytest.raises(InputError, match=r"its model_type is bert, and model\.architecture is t5"):
        first_weights(folder, config_of("t5"), Tokenizer.load(tokenizer_folder))


def test_a_missing_tensor_is_named(tokenizer_folder: Path, tmp_path: Path) -> None:
    folder = written_by_transformers(config_of("bert"), tokenizer_folder, tmp_path / "hf")
    stored = load_file(folder / "model.safetensors")
    del stored["cls.predictions.transform.dense.weight"]
    save_file(stored, folder / "model.safetensors")
    with pytest.raises(InputError, match=r"no tensor cls\.predictions\.transform\.dense\.weight"):
        first_weights(folder, config_of("bert"), Tokenizer.load(tokenizer_folder))
    index = {"metadata": {}, "weight_map": dict.fromkeys(stored, "../model.safetensors")}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(InputError, match="outside its folder"):
        first_weights(folder, config_of("bert"), Tokenizer.load(tokenizer_folder))
