"""The micro-batches of one rank: a pure function of the position, built beside training by loader workers.

A step of the run reads global_batch samples (pipeline.training.positions). Its forward number a on rank r reads the
micro_batch samples from (a * ranks + r) * micro_batch on: the same samples in the step for any number of ranks. Both
sizes are those of the step's phase.

Workers build whole micro-batches, or, with `training.masking: device`, gather raw text that is masked where it arrives:
the same views, a tenth of the bytes to send and less work for the workers.
"""

import functools
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import torch
from torch.utils.data import DataLoader, Dataset

from pipeline.batch import MicroBatch
from pipeline.phases import BatchSizes
from pipeline.training.config import TrainingConfig
from pipeline.training.positions import Skipped, first_position
from pipeline.training.stopping import die_with_parent, ignore_stop_signals

_PREFETCH = 4


class SampleSource(Protocol):
    """Something that has a sample for every position (pipeline.stream.Stream)."""

    def sample(self, position: int) -> Any:
        """The sample at `position`."""

    def samples(self, first: int, count: int) -> Sequence[Any]:
        """The samples [first, first + count)."""


class ViewMaker(Protocol):
    """Something that lays samples out as views (pipeline.corruption.Corruption)."""

    def apply(self, samples: Any) -> MicroBatch:
        """The micro-batch of `samples`."""

    def gather(self, samples: Any) -> Any:
        """The raw text of `samples`."""

    def mask_on(self, device: torch.device, raw: Any) -> MicroBatch:
        """The micro-batch of raw text, made on `device`."""

    def check_device(self, device: torch.device) -> None:
        """InputError unless mask_on works for `device`."""


class MicroBatches(Dataset[MicroBatch]):
    """Micro-batch by its first position."""

    def __init__(self, source: SampleSource, maker: ViewMaker, sizes: BatchSizes) -> None:
        self.source, self.maker, self.sizes = source, maker, sizes

    def __getitem__(self, first: int) -> MicroBatch:
        """The micro-batch of the samples from `first` on."""
        return self.maker.apply(self.samples(first))

    def samples(self, first: int) -> Sequence[Any]:
        """The samples from `first` on that a forward reads."""
        return self.source.samples(first, self.sizes.micro_batch(first))


class _RawMicroBatches(Dataset[Any]):
    """Raw text of a micro-batch by its first position."""

    def __init__(self, batches: MicroBatches) -> None:
        self.batches = batches

    def __getitem__(self, first: int) -> Any:
        """The raw text of the samples from `first` on."""
        return self.batches.maker.gather(self.batches.samples(first))


class RankPositions:
    """First positions of this rank's micro-batches from step `start` on, in the order they are needed.

    `sizes` are those of the phases; by default the batch of `config` is that of all steps.
    """

    def __init__(
        self,
        config: TrainingConfig,
        rank: int,
        world_size: int,
        start: int,
        skipped: Skipped = (),
        sizes: BatchSizes | None = None,
    ) -> None:
        self.config, self.rank, self.world_size, self.start = config, rank, world_size, start
        self.sizes = sizes or BatchSizes((0,), (config.global_batch,), (config.micro_batch,))
        self._skipped = tuple(skipped)

    def __len__(self) -> int:
        return sum(len(self.of_step(step)) for step in range(self.start, self.config.steps))

    def __iter__(self) -> Iterator[int]:
        return (position for step in range(self.start, self.config.steps) for position in self.of_step(step))

    def of_step(self, step: int) -> range:
        """The first positions of the micro-batches of one step."""
        first = self.first_of(step)
        micro_batch = self.sizes.micro_batch(first)
        stop = first + self.sizes.global_batch(first)
        return range(first + self.rank * micro_batch, stop, self.world_size * micro_batch)

    def first_of(self, step: int) -> int:
        """The position of the first sample that a step reads on any rank."""
        return first_position(step, self.sizes, self._skipped)


def load_steps(
    batches: MicroBatches, positions: RankPositions, workers: int, device: torch.device
) -> Iterator[list[MicroBatch]]:
    """For each step from `positions.start` on, the micro-batches of this rank, as tensors on `device`.

    Creating the iterator draws from torch's global generator (the workers' seeds): restore generators after it.
    InputError if masking is to happen on a device that cannot do it.
    """
    on_device = positions.config.masking == "device"
    if on_device:
        batches.maker.check_device(device)
    loader = DataLoader(
        _RawMicroBatches(batches) if on_device else batches,
        batch_size=None,
        sampler=positions,
        num_workers=workers,
        prefetch_factor=_PREFETCH if workers else None,
        multiprocessing_context="spawn" if workers else None,
        collate_fn=_unchanged,  # without batch_size it gets single samples
        worker_init_fn=_start_worker,
    )
    finish = functools.partial(batches.maker.mask_on, device) if on_device else _unchanged
    return _steps(iter(loader), positions, finish, device)


def _steps(
    loaded: Iterator[Any], positions: RankPositions, finish: Callable[[Any], MicroBatch], device: torch.device
) -> Iterator[list[MicroBatch]]:
    for step in range(positions.start, positions.config.steps):
        yield [finish(next(loaded)).placed(device) for _ in positions.of_step(step)]


def _unchanged(loaded: Any) -> Any:
    return loaded


def _start_worker(_: int) -> None:
    die_with_parent(os.getppid())
    ignore_stop_signals()
