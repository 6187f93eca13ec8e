"""A trained encoder as a sentence-transformers folder: encoder, pooling, normalisation, prompts.

The files are those of every version of the library: modules.json names the steps, each step has its config. What is
compared is what a user gets: `SentenceTransformer(folder).encode(texts)` in padded batches, with each prompt, against
our model on a flat batch of the same ids, both in float64.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from data_prep.errors import SpanwrightError
from data_prep.tokenizer import Tokenizer
from data_prep.tokenizer.segments import segments
from pipeline.batch import Batch
from pipeline.export.compare import encoder_states, largest_difference, with_exact_norms
from pipeline.export.folder import SHARD_BYTES, Write, publish_folder, write_json
from pipeline.export.huggingface import write_model
from pipeline.export.libraries import library, quiet_transformers
from pipeline.export.stock_model import encoder_alone, kept_layers
from pipeline.export.verify import Original, checked
from pipeline.export.weights import ModelWeights
from pipeline.model.config import ModelConfig

_POOLING, _NORMALIZE = "1_Pooling", "2_Normalize"
_TEXT_CHARACTERS = 600  # of a text that is compared: more than most encoders here read, less than an encoding segment


@dataclass(frozen=True)
class Pooled:
    """How a text becomes one vector."""

    pooling: str
    """"cls" (the first state) or "mean"."""
    normalize: bool
    prompts: Mapping[str, str]
    """What is put before a text, by name."""
    max_tokens: int
    """With the special ones; what is longer is cut off."""
    num_layers: int | None = None
    """Of the encoder; None: all."""


def export_sentence_transformers(
    weights: Mapping[str, torch.Tensor],
    model_config: ModelConfig,
    tokenizer_folder: Path,
    out: Path,
    pooled: Pooled,
    dtype: str = "fp32",
    check: Write | None = None,
    shard_bytes: int = SHARD_BYTES,
) -> Path:
    """Write the encoder of `weights` (fp32, by our parameter names) and its steps to the folder `out`."""

    def write(folder: Path) -> None:
        model = encoder_alone(model_config, ModelWeights(weights), pooled.num_layers)
        write_model(folder, model, model_config, tokenizer_folder, dtype, shard_bytes)
        _write_steps(folder, model_config.d_model, pooled)

    return publish_folder(out, write, check)


def verify_sentence_transformers(folder: Path, original: Original, pooled: Pooled) -> dict[str, Any]:
    """Compare what the library makes of the texts with what our model makes of them; returns figures.

    The library holds its model in memory whole; `by_block` spares ours only. The views are not read.
    """
    theirs, ours = _loaded(folder), original.model
    tokenizer = Tokenizer.load(original.tokenizer_folder)
    comparable = _comparable(theirs.tokenizer, tokenizer, original.texts)[: original.max_sequences]
    if not comparable:
        raise SpanwrightError("export to sentence-transformers: there is no held-out text to compare it on")
    compared = {"vectors": largest_difference(_vectors(ours, theirs, comparable, pooled), "vectors")}
    figures = checked("sentence-transformers", compared, folder, original)
    return {**figures, "prompts": ["", *pooled.prompts]}


def _write_steps(folder: Path, width: int, pooled: Pooled) -> None:
    steps = {"": "Transformer", _POOLING: "Pooling"} | ({_NORMALIZE: "Normalize"} if pooled.normalize else {})
    modules = [
        {"idx": index, "name": str(index), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for index, (path, kind) in enumerate(steps.items())
    ]
    write_json(folder / "modules.json", modules)
    for path in filter(None, steps):
        (folder / path).mkdir()
    pooling = {"pooling_mode_cls_token": pooled.pooling == "cls", "pooling_mode_mean_tokens": pooled.pooling == "mean"}
    write_json(folder / _POOLING / "config.json", {"word_embedding_dimension": width, **pooling})
    write_json(folder / "sentence_bert_config.json", {"max_seq_length": pooled.max_tokens, "do_lower_case": False})
    similarity = "cosine" if pooled.normalize else "dot"
    texts = {"prompts": dict(pooled.prompts), "default_prompt_name": None, "similarity_fn_name": similarity}
    write_json(folder / "config_sentence_transformers.json", texts)


def _loaded(folder: Path) -> Any:
    """The library's model of `folder`, in float64."""
    quiet_transformers()
    model = library("sentence_transformers").SentenceTransformer(str(folder), device="cpu", local_files_only=True)
    return with_exact_norms(model.double())


def _comparable(theirs: Any, ours: Tokenizer, texts: Sequence[str]) -> list[str]:
    """The beginnings of `texts` that both cut into the same tokens: ties are another comparison's matter."""

    def agree(text: str) -> bool:
        return theirs(text, add_special_tokens=False).input_ids == ours.encode(text).tolist()

    beginnings = [text[:_TEXT_CHARACTERS] for text in texts]
    return [text for text in beginnings if len(list(segments(text))) == 1 and agree(text)]


def _vectors(
    ours: Any, theirs: Any, texts: Sequence[str], pooled: Pooled
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    for name, prompt in [(None, ""), *pooled.prompts.items()]:
        got_NW = theirs.encode(
            list(texts), prompt_name=name, batch_size=8, convert_to_tensor=True, show_progress_bar=False
        )
        for text, vector_W in zip(texts, got_NW, strict=True):
            ids = theirs.tokenizer(prompt + text, truncation=True, max_length=pooled.max_tokens).input_ids
            yield _our_vector(ours, ids, pooled), vector_W


def _our_vector(model: Any, ids: Sequence[int], pooled: Pooled) -> torch.Tensor:
    rows = torch.arange(len(ids))
    view = Batch(
        tokens=torch.tensor(ids),
        positions=rows,
        cu_seqlens=torch.tensor([0, len(ids)], dtype=torch.int32),
        sample_rows=rows,
        sample_positions=torch.zeros_like(rows),
    )
    states_TW = encoder_states(model, view, kept_layers(model.config, pooled.num_layers))
    vector_W = states_TW[0] if pooled.pooling == "cls" else states_TW.mean(0)
    return torch.nn.functional.normalize(vector_W, dim=0) if pooled.normalize else vector_W
