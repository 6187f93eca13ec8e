"""`spanwright inspect`: what encoder, decoder and loss get, for a text or for a step of a run."""

from collections.abc import Iterator, Sequence

import numpy as np
from rich.console import RenderableType

from data_prep.errors import InputError
from data_prep.shards.names import MANIFEST_NAME
from launch.terminal import table
from pipeline.checkpoint.load import newest_record
from pipeline.config import RunConfig
from pipeline.corruption.pieces import GivenSample, SampleLike
from pipeline.inspection import render
from pipeline.training.assembly import Data, open_data
from pipeline.training.positions import as_ranges, first_position


def inspect_text(config: RunConfig, text: str) -> Iterator[RenderableType]:
    """Panels for `text`, tokenized by the run's tokenizer and cut into windows at positions 0, 1, ..."""
    if not text:
        raise InputError("inspect: --text is empty.")
    if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
        raise InputError("inspect: --text is not UTF-8.")
    data = _open(config)
    ids = data.tokenizer.encode(text).astype(np.int64)
    if config.columns:
        names = ", ".join(wanted.name for wanted in config.columns)
        raise InputError(f"inspect: this run reads {names} of a dataset, which --text has not. Use --step 1.")
    window = config.stream.window
    samples = [
        GivenSample(position, ids[start : start + window], _offsets(config, len(ids[start : start + window])))
        for position, start in enumerate(range(0, len(ids), window))
    ]
    yield from _panels(config, data, samples)


def _offsets(config: RunConfig, length: int) -> np.ndarray:
    """The boundaries of the sequences of a text of `length` tokens."""
    starts, _ = config.stream.cut([0], [length])
    return np.array([*starts, length])


def inspect_step(config: RunConfig, step: int, num_samples: int) -> Iterator[RenderableType]:
    """Where the samples of `step` (1-based) come from, and panels for the first `num_samples` of them."""
    if step > config.training.steps:
        raise InputError(f"inspect: --step {step} is after the last step of the run, {config.training.steps}.")
    data = _open(config)
    record = newest_record(config.checkpoints)
    skipped = as_ranges(record.skipped) if record else []
    first = first_position(step - 1, config.training.global_batch, skipped)
    last = first + config.training.global_batch - 1
    samples = [data.stream.sample(position) for position in range(first, min(first + num_samples, last + 1))]
    rows = [
        (str(s.position), str(s.epoch), str(s.shard), str(s.chunk), str(s.window), p.document_id, f"{p.start}-{p.stop}")
        for s in samples
        for p in s.documents
    ]
    yield f"step {step} reads positions {first} to {last}; the first {len(samples)}:"
    yield table(("position", "epoch", "shard", "chunk", "window", "document", "tokens"), rows)
    yield from _panels(config, data, samples)


def _panels(config: RunConfig, data: Data, samples: Sequence[SampleLike]) -> Iterator[RenderableType]:
    views = data.micro_batches.maker.apply(samples)
    yield from render(views, data.tokenizer, aligned=config.corruption.writes_after_sentinels)


def _open(config: RunConfig) -> Data:
    if not (config.data_dir / MANIFEST_NAME).is_file():
        raise InputError(f"{config.data_dir}: no dataset yet, so no tokenizer. Run `spanwright prep` with this config.")
    return open_data(config)
