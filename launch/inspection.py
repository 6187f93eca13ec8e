"""`spanwright inspect`: what encoder, decoder and loss get, for a text or for a step of a run."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from rich.console import RenderableType

from data_prep.errors import InputError
from data_prep.shards.names import MANIFEST_NAME
from launch.terminal import table
from launch.text_columns import columns_of_text
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
    columns = columns_of_text(text, ids, config.columns, data) if config.columns else {}
    yield from _panels(config, data, list(_windows(config, data, ids, columns)))


def _windows(
    config: RunConfig, data: Data, ids: np.ndarray, columns: Mapping[str, np.ndarray]
) -> Iterator[GivenSample]:
    """The windows of a text; where a pair's second segment may be another document's, that is one of the dataset."""
    window = config.stream.window
    for position, start in enumerate(range(0, len(ids), window)):
        part = slice(start, start + window)
        yield GivenSample(
            position,
            ids[part],
            _offsets(config, len(ids[part])),
            {name: values[part] for name, values in columns.items()},
            data.stream.sample(position) if config.corruption.reads_other else None,
        )


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
    sizes = data.micro_batches.sizes
    first = first_position(step - 1, sizes, skipped)
    last = first + sizes.global_batch(first) - 1
    samples = [data.stream.sample(position) for position in range(first, min(first + num_samples, last + 1))]
    rows = [
        (str(s.position), str(s.epoch), str(s.shard), str(s.chunk), str(s.window), p.document_id, f"{p.start}-{p.stop}")
        for s in [part for sample in samples for part in (sample, sample.other) if part is not None]
        for p in s.documents
    ]
    yield f"step {step} reads positions {first} to {last}; the first {len(samples)}:"
    yield table(("position", "epoch", "shard", "chunk", "window", "document", "tokens"), rows)
    yield from _panels(config, data, samples)


def _panels(config: RunConfig, data: Data, samples: Sequence[SampleLike]) -> Iterator[RenderableType]:
    views = data.micro_batches.maker.apply(samples)
    yield from render(views, data.tokenizer, alignment=config.corruption.alignment)


def _open(config: RunConfig) -> Data:
    if not (config.data_dir / MANIFEST_NAME).is_file():
        raise InputError(f"{config.data_dir}: no dataset yet, so no tokenizer. Run `spanwright prep` with this config.")
    return open_data(config)
