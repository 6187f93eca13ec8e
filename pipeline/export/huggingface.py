"""A trained model, or its encoder, as a folder that transformers' `from_pretrained` loads (layouts/).

1. weights, renamed, as safetensors (a tied head is stored once)
2. config.json, and generation_config.json for a decoder
3. the tokenizer, with the same ids
"""

from collections.abc import Mapping
from pathlib import Path

import torch

from data_prep.tokenizer import Tokenizer
from pipeline.export.folder import DTYPES, SHARD_BYTES, Write, publish_folder, write_json, write_weights
from pipeline.export.stock_model import StockModel, config_json, encoder_alone, special_ids, whole_model
from pipeline.export.tokenizer import export_tokenizer
from pipeline.export.weights import ModelWeights
from pipeline.model.config import ModelConfig


def export_hf(
    weights: Mapping[str, torch.Tensor],
    model_config: ModelConfig,
    tokenizer_folder: Path,
    out: Path,
    dtype: str = "fp32",
    max_new_tokens: int = 128,
    check: Write | None = None,
    shard_bytes: int = SHARD_BYTES,
) -> Path:
    """Write `weights` (fp32, by our parameter names) and the tokenizer to the folder `out`; returns `out`.

    `check` gets the whole export under its temporary name: what it raises keeps `out` as it was. A previous export at
    `out` is replaced. Raises SpanwrightError when the layout has no place for a weight, or they cannot be written.
    """

    def write(folder: Path) -> None:
        model = whole_model(model_config, ModelWeights(weights))
        write_model(folder, model, model_config, tokenizer_folder, dtype, shard_bytes)
        if model.has_decoder:
            # transformers 5.23 sizes generate()'s cache by the encoder: a deeper decoder must do without.
            use_cache = model_config.decoder_layers <= model_config.num_layers
            ids = special_ids(model_config, Tokenizer.load(tokenizer_folder))
            generation = {**ids, "max_new_tokens": max_new_tokens, "use_cache": use_cache}
            write_json(folder / "generation_config.json", generation)

    return publish_folder(out, write, check)


def export_encoder(
    weights: Mapping[str, torch.Tensor],
    model_config: ModelConfig,
    tokenizer_folder: Path,
    out: Path,
    dtype: str = "fp32",
    num_layers: int | None = None,
    check: Write | None = None,
    shard_bytes: int = SHARD_BYTES,
) -> Path:
    """`export_hf` for the encoder alone, or its first `num_layers` layers."""

    def write(folder: Path) -> None:
        model = encoder_alone(model_config, ModelWeights(weights), num_layers)
        write_model(folder, model, model_config, tokenizer_folder, dtype, shard_bytes)

    return publish_folder(out, write, check)


def write_model(
    folder: Path, model: StockModel, config: ModelConfig, tokenizer_folder: Path, dtype: str, shard_bytes: int
) -> None:
    """Weights, config.json and the tokenizer of `model`, into the existing `folder`."""
    write_weights(folder, model.tensors, DTYPES[dtype], shard_bytes)
    write_json(folder / "config.json", config_json(model, config, Tokenizer.load(tokenizer_folder), dtype))
    export_tokenizer(tokenizer_folder, folder, config.layers)
