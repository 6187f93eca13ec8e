"""The export stage of a run: newest checkpoint -> verified folders, one for each target.

Invariant: what stands at its final name has been compared with the trained model: an export is written beside it,
checked, and only then renamed.
"""

import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch

from pipeline.batch import Views
from pipeline.checkpoint.format import Record
from pipeline.checkpoint.weights import CheckpointWeights, newest_and_skipped
from pipeline.config import RunConfig
from pipeline.export.folder import Write
from pipeline.export.huggingface import export_encoder, export_hf
from pipeline.export.model_card import Run, write_card
from pipeline.export.native import export_native, verify_native
from pipeline.export.onnx import export_onnx, verify_onnx
from pipeline.export.sentence_transformers import (
    Pooled,
    export_sentence_transformers,
    verify_sentence_transformers,
)
from pipeline.export.verify import Original, verify_encoder, verify_export
from pipeline.export.weights import ModelWeights
from pipeline.model.config import ModelConfig, count_parameters
from pipeline.training.assembly import Data, open_data

COMPARED_TEXTS = 64
_FLOAT64_COPIES_BYTES = 2 * 8 + 4  # of one parameter: ours, theirs, and theirs as it was read

Figures = dict[str, Any]


@dataclass(frozen=True)
class Job:
    """What is exported, and what it is compared on."""

    config: RunConfig
    weights: Mapping[str, torch.Tensor]
    data: Data
    record: Record

    @property
    def tokenizer_folder(self) -> Path:
        """Of the dataset that the run read."""
        return self.data.dataset.tokenizer_folder

    @cached_property
    def views(self) -> list[Views]:
        """Held-out micro-batches (training ones where none were held out) with `compare_sequences` sequences."""
        return list(_views(self.config, self.data))

    @cached_property
    def texts(self) -> list[str]:
        """Held-out documents."""
        documents = itertools.islice(self.data.heldout_documents(), COMPARED_TEXTS)
        return [self.data.tokenizer.decode(tokens) for _, tokens in documents]

    @property
    def by_block(self) -> bool:
        """Whether both models in float64 would take more memory than is allowed."""
        parameters = count_parameters(self.config.model, ModelWeights(self.weights).vocab_size)
        return parameters * _FLOAT64_COPIES_BYTES > self.config.export.compare_bytes

    def source(self) -> tuple[Mapping[str, torch.Tensor], ModelConfig, Path]:
        """The first arguments of every function that writes an export."""
        return self.weights, self.config.model, self.tokenizer_folder

    @property
    def original(self) -> Original:
        """What exports are compared with."""
        export = self.config.export
        return Original(
            *self.source(),
            self.views,
            self.texts,
            export.dtype,
            export.tolerance,
            export.compare_sequences,
            self.by_block,
        )

    def compared(self, target: str, verify: Callable[[Path, Original], Figures], figures: Figures) -> Write:
        """A check of an export's folder by `verify`: what it found goes into `figures`, and into the model's card."""

        def check(folder: Path) -> None:
            figures.update(verify(folder, self.original))
            write_card(folder, Run(self.config, self.record, self.data.dataset), target, figures)

        return check


def export_run(config: RunConfig) -> Iterator[tuple[str, Figures]]:
    """Export the run's newest valid checkpoint to every format in `export.to`; gives each one's figures as it is done.

    Raises InputError when nothing has been trained or a target does not fit the recipe, SpanwrightError when an export
    is not the trained model.
    """
    if not config.export.to:
        return
    checkpoint, skipped = newest_and_skipped(config.checkpoints)
    weights = CheckpointWeights(checkpoint)
    job = Job(config, weights, open_data(config), weights.record)
    for target in config.export.to:
        out = config.export_dir / target
        about = {"folder": str(out), "checkpoint": checkpoint.name, "skipped": skipped}
        yield target, {**about, **export_target(job, target, out)}


def export_target(job: Job, target: str, out: Path) -> Figures:
    """Write and verify one export; its figures."""
    return _TARGETS[target](job, out)


def _hf(job: Job, out: Path) -> Figures:
    figures: Figures = {}
    export = job.config.export
    check = job.compared("hf", verify_export, figures)
    export_hf(*job.source(), out, export.dtype, check=check, shard_bytes=export.shard_bytes)
    return figures


def _encoder(job: Job, out: Path) -> Figures:
    figures: Figures = {}
    export = job.config.export
    check = job.compared("encoder", partial(verify_encoder, num_layers=export.encoder_layers), figures)
    export_encoder(*job.source(), out, export.dtype, export.encoder_layers, check, export.shard_bytes)
    return figures


def _native(job: Job, out: Path) -> Figures:
    figures: Figures = {}
    export = job.config.export
    check = job.compared("native", verify_native, figures)
    export_native(*job.source(), out, export.dtype, check, export.shard_bytes)
    return figures


def _sentence_transformers(job: Job, out: Path) -> Figures:
    config, export = job.config, job.config.export
    assert config.pooling is not None, "refused before"
    longest = getattr(config.model.positions, "max_positions", None) or config.stream.window
    max_tokens = min(longest, config.stream.window)
    pooled = Pooled(config.pooling, export.normalize, export.prompts, max_tokens, export.encoder_layers)
    figures: Figures = {}
    check = job.compared("sentence-transformers", partial(verify_sentence_transformers, pooled=pooled), figures)
    export_sentence_transformers(*job.source(), out, pooled, export.dtype, check, export.shard_bytes)
    return figures


def _onnx(job: Job, out: Path) -> Figures:
    figures: Figures = {}
    tolerance = job.config.export.onnx_tolerance

    def verify(folder: Path, original: Original) -> Figures:
        return verify_onnx(folder, replace(original, dtype="fp32", tolerance=tolerance))

    check = job.compared("onnx", verify, figures)
    export_onnx(*job.source(), out, check)
    return figures


_TARGETS: dict[str, Callable[[Job, Path], Figures]] = {
    "hf": _hf,
    "encoder": _encoder,
    "onnx": _onnx,
    "sentence-transformers": _sentence_transformers,
    "native": _native,
}


def _views(config: RunConfig, data: Data) -> Iterator[Views]:
    sequences = number = 0
    while sequences < config.export.compare_sequences:
        if data.heldout is None:
            micro_batch = data.micro_batches[number * config.training.micro_batch]
        elif number * config.training.micro_batch < data.heldout.num_samples:
            micro_batch = data.heldout.micro_batch_at(number)
        else:
            return
        yield micro_batch.to("cpu").views
        sequences += micro_batch.views["encoder"].num_sequences
        number += 1
