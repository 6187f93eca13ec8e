"""A trained model as a Hugging Face folder, in the stock layout of its architecture (layouts/).

Invariant: `out` is absent, the previous export, or a complete one: everything is written to a temporary folder beside
it, flushed, and renamed. Stages:
1. weights, renamed, as safetensors (a tied head is stored once)
2. config.json and generation_config.json
3. the tokenizer, with the same ids
4. flush, check, and rename
"""

import json
import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from data_prep.errors import SpanwrightError
from data_prep.shards.files import sync_folder
from data_prep.tokenizer import Tokenizer
from pipeline.export.layouts import OBJECTIVE_PREFIX, layout_of, model_weights
from pipeline.export.libraries import library
from pipeline.export.tokenizer import export_tokenizer
from pipeline.model.config import ModelConfig

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


def export_hf(
    weights: Mapping[str, torch.Tensor],
    model_config: ModelConfig,
    tokenizer_folder: Path,
    out: Path,
    dtype: str = "fp32",
    max_new_tokens: int = 128,
    check: Callable[[Path], None] | None = None,
) -> Path:
    """Write `weights` (fp32, by our parameter names) and the tokenizer to the folder `out`; returns `out`.

    `check` gets the whole export under its temporary name: what it raises keeps `out` as it was. A previous export at
    `out` is replaced. Raises SpanwrightError when the layout has no place for a weight, or they cannot be written.
    """
    out = Path(out).absolute()
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as scratch:
            folder = Path(scratch) / "new"
            folder.mkdir()
            stock = layout_of(model_config).converted(model_weights(weights))
            _write_weights(stock, DTYPES[dtype], folder / "model.safetensors")
            _write_configs(weights, model_config, Tokenizer.load(tokenizer_folder), dtype, max_new_tokens, folder)
            export_tokenizer(tokenizer_folder, folder, model_config.layers)
            _flush(folder)
            if check is not None:
                check(folder)
            if out.exists():
                os.rename(out, Path(scratch) / "old")
            os.rename(folder, out)
            sync_folder(out.parent)
    except (OSError, library("safetensors").SafetensorError) as error:
        raise SpanwrightError(f"{out}: cannot write the export: {error}") from error
    return out


def _write_weights(weights: Mapping[str, torch.Tensor], dtype: torch.dtype, path: Path) -> None:
    stored = {name: tensor.detach().to("cpu", dtype).contiguous() for name, tensor in weights.items()}
    library("safetensors.torch").save_file(stored, path, metadata={"format": "pt"})
    path.chmod(0o644)


def _write_configs(
    weights: Mapping[str, torch.Tensor],
    config: ModelConfig,
    tokenizer: Tokenizer,
    dtype: str,
    max_new_tokens: int,
    folder: Path,
) -> None:
    _write_json(folder / "config.json", hf_config(config, vocab_size(weights), tokenizer, dtype))
    if config.layers.has_decoder:
        # transformers 5.23 sizes generate()'s cache by the encoder: a deeper decoder must do without.
        use_cache = config.decoder_layers <= config.num_layers
        generation = {**_special_ids(config, tokenizer), "max_new_tokens": max_new_tokens, "use_cache": use_cache}
        _write_json(folder / "generation_config.json", generation)


def hf_config(config: ModelConfig, vocab_size: int, tokenizer: Tokenizer, dtype: str = "fp32") -> dict[str, Any]:
    """The content of config.json."""
    layout = layout_of(config)
    return {
        "architectures": [layout.HEAD_CLASS],
        "dtype": str(DTYPES[dtype]).removeprefix("torch."),
        **layout.config_fields(config, vocab_size),
        **_special_ids(config, tokenizer),
    }


def _special_ids(config: ModelConfig, tokenizer: Tokenizer) -> dict[str, int]:
    special = tokenizer.special
    if config.layers.has_decoder:
        return {"pad_token_id": special.pad, "eos_token_id": special.eos, "decoder_start_token_id": special.pad}
    ids = {"pad": special.pad, "bos": special.cls, "eos": special.sep, "cls": special.cls, "sep": special.sep}
    return {f"{name}_token_id": index for name, index in ids.items()}


def vocab_size(weights: Mapping[str, torch.Tensor]) -> int:
    """Rows of the embedding among our `weights`."""
    by_name = {name.removeprefix(OBJECTIVE_PREFIX): tensor for name, tensor in weights.items()}
    if "embedding.weight" not in by_name:
        raise SpanwrightError("export to hf: these weights have no embedding.weight; this is not a model of ours")
    return by_name["embedding.weight"].shape[0]


def _write_json(path: Path, fields: dict[str, Any]) -> None:
    path.write_text(json.dumps(fields, indent=2) + "\n", encoding="utf-8")


def _flush(folder: Path) -> None:
    for path in folder.iterdir():
        with open(path, "rb") as file:
            os.fsync(file.fileno())
    sync_folder(folder)
