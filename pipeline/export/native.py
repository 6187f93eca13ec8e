"""A folder in our own layout, for models that no class of transformers has a place for.

    config.json          format, version, the `model:` section of the run, rows of the embedding, the checkpoint's facts
    model.safetensors    weights by our own parameter names (several files and an index where they are large)
    tokenizer files      as in every export

`load_native` makes the model again; it runs on flat batches (pipeline/batch.py).
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError

from data_prep.errors import InputError
from pipeline.batch import Views
from pipeline.export.compare import largest_difference, sequences
from pipeline.export.folder import (
    DTYPES,
    SHARD_BYTES,
    Stored,
    Write,
    publish_folder,
    read_stored,
    read_tensor,
    write_json,
    write_weights,
)
from pipeline.export.materialise import materialise, parameters_on_meta
from pipeline.export.tokenizer import export_tokenizer
from pipeline.export.verify import Original, checked
from pipeline.export.weights import ModelWeights
from pipeline.model.config import ModelConfig
from pipeline.model.encoder_decoder import EncoderDecoder, build_model
from pipeline.model.pretrained import EncoderModel

FORMAT, FORMAT_VERSION = "spanwright", 1


def export_native(
    weights: Mapping[str, torch.Tensor],
    model_config: ModelConfig,
    tokenizer_folder: Path,
    out: Path,
    dtype: str = "fp32",
    check: Write | None = None,
    shard_bytes: int = SHARD_BYTES,
) -> Path:
    """Write `weights` (fp32, by our parameter names) and the tokenizer to the folder `out`; returns `out`."""

    def write(folder: Path) -> None:
        own = ModelWeights(weights)
        tensors = [Stored(name, own.shapes[name], _reader(own, name)) for name in own]
        write_weights(folder, tensors, DTYPES[dtype], shard_bytes)
        fields = {"format": FORMAT, "format_version": FORMAT_VERSION, "vocab_size": own.vocab_size}
        write_json(folder / "config.json", {**fields, "model": model_config.model_dump(mode="json")})
        export_tokenizer(tokenizer_folder, folder, model_config.layers)

    return publish_folder(out, write, check)


def load_native(folder: Path, dtype: torch.dtype = torch.float32, by_block: bool = False) -> EncoderModel:
    """The model in `folder`, ready to run; InputError for a folder that holds none."""
    path = Path(folder) / "config.json"
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
        if (fields["format"], fields["format_version"]) != (FORMAT, FORMAT_VERSION):
            raise InputError(f"{path}: not a native export of version {FORMAT_VERSION}")
        config, vocab_size = ModelConfig.model_validate(fields["model"]), int(fields["vocab_size"])
    except (OSError, ValueError, KeyError, TypeError, ValidationError) as error:
        raise InputError(f"{path}: not a native export: {error!r:.200}") from error
    with parameters_on_meta():
        model = build_model(config, vocab_size, seed=0).eval()
    stored = read_stored(Path(folder))
    materialise(model, lambda name: read_tensor(stored, name), dtype, by_block)
    return model


@torch.no_grad()
def verify_native(folder: Path, original: Original) -> dict[str, Any]:
    """Compare the native export in `folder` with what it was made from; returns figures."""
    ours, theirs = original.model, load_native(folder, torch.float64, original.by_block)
    pairs = (pair for micro_batch in original.views for pair in _logits(ours, theirs, micro_batch))
    compared = {"logits": largest_difference(pairs, "logits", original.max_sequences)}
    return checked("native", compared, folder, original)


def _logits(ours: EncoderModel, theirs: EncoderModel, views: Views) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    view = views["decoder" if isinstance(ours, EncoderDecoder) else "encoder"]
    both = [_states(model, views) for model in (ours, theirs)]
    for rows in sequences(view):
        yield ours.head(both[0][rows]), theirs.head(both[1][rows])


def _states(model: EncoderModel, views: Views) -> torch.Tensor:
    memory_SW = model.encode(views["encoder"])
    if not isinstance(model, EncoderDecoder):
        return memory_SW
    return model.decode(views["decoder"], memory_SW, views["encoder"])


def _reader(weights: ModelWeights, name: str) -> Any:
    return lambda: weights[name]
