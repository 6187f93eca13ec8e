import json
import multiprocessing
import os
import resource
import signal
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoTokenizer, GenerationConfig, T5ForConditionalGeneration

from data_prep.errors import SpanwrightError
from pipeline.export.folder import publish_folder
from pipeline.export.huggingface import export_hf
from pipeline.export.layouts.t5 import t5_name
from pipeline.export.weights import ModelWeights

FILES = [
    "config.json",
    "generation_config.json",
    "model.safetensors",
    "spiece.model",
    "tokenizer.json",
    "tokenizer_config.json",
]


def test_the_folder_holds_what_from_pretrained_needs_and_nothing_else(
    weights, model_config, tokenizer_folder: Path, tmp_path: Path
) -> None:
    out = export_hf(weights, model_config, tokenizer_folder, tmp_path / "hf")
    assert sorted(path.name for path in out.iterdir()) == FILES
    assert [path.name for path in tmp_path.iterdir()] == ["hf"]
    assert all(path.stat().st_mode & 0o044 == 0o044 for path in out.iterdir())
    model = T5ForConditionalGeneration.from_pretrained(out)
    assert model.config.vocab_size == 1024  # 1000 padded
    assert (model.config.pad_token_id, model.config.eos_token_id, model.config.decoder_start_token_id) == (0, 1, 0)
    assert GenerationConfig.from_pretrained(out).max_new_tokens == 128
    assert AutoTokenizer.from_pretrained(out).eos_token_id == 1


def test_weights_are_stored_exactly_and_a_tied_head_once(
    weights, model_config, tokenizer_folder: Path, tmp_path: Path
) -> None:
    stored = load_file(export_hf(weights, model_config, tokenizer_folder, tmp_path / "hf") / "model.safetensors")
    assert stored.keys() == {t5_name(name) for name in ModelWeights(weights)}
    assert "lm_head.weight" not in stored
    for name, tensor in ModelWeights(weights).items():
        assert torch.equal(stored[t5_name(name)], tensor), name


def test_bf16_rounds_the_weights_and_says_so(weights, model_config, tokenizer_folder: Path, tmp_path: Path) -> None:
    out = export_hf(weights, model_config, tokenizer_folder, tmp_path / "hf", dtype="bf16")
    stored = load_file(out / "model.safetensors")
    assert torch.equal(stored["shared.weight"], weights["model.embedding.weight"].bfloat16())
    assert json.loads((out / "config.json").read_text())["dtype"] == "bfloat16"
    assert T5ForConditionalGeneration.from_pretrained(out).dtype == torch.bfloat16


def test_an_export_replaces_the_one_before(weights, model_config, tokenizer_folder: Path, tmp_path: Path) -> None:
    out = export_hf(weights, model_config, tokenizer_folder, tmp_path / "hf")
    (out / "left_over.txt").write_text("old")
    export_hf({name: tensor + 1 for name, tensor in weights.items()}, model_config, tokenizer_folder, out)
    assert sorted(path.name for path in out.iterdir()) == FILES
    stored = load_file(out / "model.safetensors")
    assert torch.equal(stored["shared.weight"], weights["model.embedding.weight"] + 1)


def test_a_failed_export_leaves_the_one_before_as_it_was(
    weights, model_config, tokenizer_folder: Path, tmp_path: Path
) -> None:
    out = export_hf(weights, model_config, tokenizer_folder, tmp_path / "hf")
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    with pytest.raises(SpanwrightError, match=r"generator\.weight"):
        export_hf({**weights, "model.generator.weight": torch.zeros(1)}, model_config, tokenizer_folder, out)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["hf"]


def test_a_place_that_cannot_be_written_is_named(weights, model_config, tokenizer_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(SpanwrightError, match=r"file/hf: cannot write the export: .*File exists.*file'"):
        export_hf(weights, model_config, tokenizer_folder, tmp_path / "file" / "hf")


def test_what_a_killed_export_left_goes_and_what_a_living_one_writes_stays(
    weights, model_config, tokenizer_folder: Path, tmp_path: Path
) -> None:
    context = multiprocessing.get_context("fork")
    begun, killed = context.Event(), context.Process(target=publish_folder, args=(tmp_path / "hf", die))
    living = context.Process(target=publish_folder, args=(tmp_path / "hf", lambda _: begun.set() or time.sleep(600)))
    killed.start()
    killed.join()
    assert killed.exitcode == -signal.SIGKILL
    [left] = tmp_path.iterdir()
    assert (left / "new" / "config.json").exists(), "it died in the middle"
    living.start()
    assert begun.wait(400)
    assert not left.exists()
    [kept] = tmp_path.iterdir()
    export_hf(weights, model_config, tokenizer_folder, tmp_path / "hf")
    assert {path.name for path in tmp_path.iterdir()} == {"hf", kept.name}
    living.kill()
    living.join()
    export_hf(weights, model_config, tokenizer_folder, tmp_path / "hf")
    assert [path.name for path in tmp_path.iterdir()] == ["hf"]


def die(folder: Path) -> None:
    (folder / "config.json").write_text("{}")
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("limit", [50_000, 20_000])
def test_a_full_disk_is_one_message_and_leaves_nothing(
    limit: int, weights, model_config, tokenizer_folder: Path, tmp_path: Path
) -> None:
    """The largest file may have 50 kB (the weights do not fit), then 20 kB (the tokenizer would not either)."""
    small = dict(list(weights.items())[3:5]) | {"model.embedding.weight": torch.zeros(1, 1)}
    chosen = weights if limit == 50_000 else small
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        with pytest.raises(SpanwrightError, match=r"hf: cannot write the export: .*File too large"):
            export_hf(chosen, model_config, tokenizer_folder, tmp_path / "hf")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("shard_bytes", [40_000, 1])
def test_weights_larger_than_a_file_may_be_lie_in_several_that_from_pretrained_joins(
    shard_bytes: int, weights, model_config, tokenizer_folder: Path, tmp_path: Path
) -> None:
    out = export_hf(weights, model_config, tokenizer_folder, tmp_path / "hf", shard_bytes=shard_bytes)
    files = sorted(out.glob("model-*.safetensors"))
    assert len(files) > 3
    assert not (out / "model.safetensors").exists()
    parts = [load_file(path) for path in files]
    sizes = [sum(tensor.nbytes for tensor in part.values()) for part in parts]
    assert all(size <= shard_bytes or len(part) == 1 for size, part in zip(sizes, parts, strict=True))
    index = json.loads((out / "model.safetensors.index.json").read_text())
    assert index["metadata"]["total_size"] == sum(sizes)
    assert index["weight_map"] == {name: path.name for path, part in zip(files, parts, strict=True) for name in part}
    loaded = T5ForConditionalGeneration.from_pretrained(out).state_dict()
    for name, tensor in ModelWeights(weights).items():
        assert torch.equal(loaded[t5_name(name)], tensor), name
