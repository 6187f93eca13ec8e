"""The export stage of a run: newest checkpoint -> verified folders.

Invariant: what stands at its final name has been compared with the trained model: an export is written beside it,
checked, and only then renamed.
"""

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipeline.batch import Views
from pipeline.checkpoint.weights import load_weights, newest_checkpoint
from pipeline.config import RunConfig
from pipeline.export.huggingface import export_hf
from pipeline.export.verify import verify_export
from pipeline.training.assembly import Data, open_data

COMPARED_TEXTS = 64


def export_run(config: RunConfig) -> dict[str, Any]:
    """Export the run's newest valid checkpoint to every format in `export.to`; returns the figures by format.

    Raises InputError when nothing has been trained, SpanwrightError when an export is not the trained model.
    """
    if "hf" not in config.export.to:
        return {}
    checkpoint = newest_checkpoint(config.checkpoints)
    data = open_data(config)
    weights = load_weights(checkpoint)
    final = config.export_dir / "hf"
    tokenizer_folder = data.dataset.tokenizer_folder
    figures: dict[str, Any] = {}

    def check(folder: Path) -> None:
        figures.update(
            verify_export(
                folder,
                weights,
                config.model,
                tokenizer_folder,
                list(_views(config, data)),
                [
                    data.tokenizer.decode(tokens)
                    for _, tokens in itertools.islice(data.heldout_documents(), COMPARED_TEXTS)
                ],
                config.export.dtype,
                config.export.tolerance,
                config.export.compare_sequences,
            )
        )

    export_hf(weights, config.model, tokenizer_folder, final, config.export.dtype, check=check)
    return {"hf": {"folder": str(final), "checkpoint": checkpoint.name, **figures}}


def _views(config: RunConfig, data: Data) -> Iterator[Views]:
    """Held-out micro-batches (training ones where none were held out) with at least `compare_sequences` sequences."""
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
