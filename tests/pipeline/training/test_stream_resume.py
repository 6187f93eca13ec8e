"""The stream of batches goes on from every step: the whole ordered tail is that of the stream read from the start."""

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from pipeline.config import load_run
from pipeline.stream import Stream
from pipeline.training.assembly import open_data
from pipeline.training.loader import RankPositions, load_steps

from .observed_rank import sample_digests

STEPS, GLOBAL_BATCH = 200, 4
CPU = torch.device("cpu")
Read = list[tuple[int, str]]


@pytest.fixture(scope="module")
def run_dir(make_run: Any) -> Path:
    """Two hundred steps of four samples: more than three epochs."""
    return make_run(steps=STEPS, global_batch=GLOBAL_BATCH, micro_batch=1)


def tail(run_dir: Path, start: int, rank: int = 0, ranks: int = 1, workers: int = 0) -> Iterator[Read]:
    """(Position, digest of the views) of each sample that a rank reads, by step, from a start of its own."""
    config = load_run(run_dir)
    data = open_data(config)
    positions = RankPositions(config.training, rank, ranks, start)
    for micro_batches in load_steps(data.micro_batches, positions, workers, CPU):
        yield [sample for micro_batch in micro_batches for sample in sample_digests(micro_batch)]


@pytest.fixture(scope="module")
def straight(run_dir: Path) -> list[Read]:
    """The steps of one rank from the start."""
    steps = list(tail(run_dir, 0))
    assert [position for step in steps for position, _ in step] == list(range(STEPS * GLOBAL_BATCH))
    [windows] = open_data(load_run(run_dir)).stream.streams
    assert 3 * len(windows) < STEPS * GLOBAL_BATCH
    return steps


@pytest.mark.parametrize("every", [23, pytest.param(1, marks=pytest.mark.long)])
def test_from_every_step_the_whole_tail_is_read_as_from_the_start(
    run_dir: Path, straight: list[Read], every: int
) -> None:
    for start in range(0, STEPS, every):
        assert list(tail(run_dir, start)) == straight[start:]


@pytest.mark.parametrize("ranks", [2, 4])
def test_the_ranks_together_read_the_tail_from_every_step(run_dir: Path, straight: list[Read], ranks: int) -> None:
    of_ranks = [list(tail(run_dir, 0, rank, ranks)) for rank in range(ranks)]
    for together, alone in zip(zip(*of_ranks, strict=True), straight, strict=True):
        # Forward number a of the step: rank 0's micro-batch, then rank 1's, ...
        assert [read[number] for number in range(len(together[0])) for read in together] == alone
    config = load_run(run_dir).training
    for rank in range(ranks):
        everything = list(RankPositions(config, rank, ranks, 0))
        for start in range(STEPS):
            assert list(RankPositions(config, rank, ranks, start)) == everything[start * GLOBAL_BATCH // ranks :]


@pytest.mark.long
@pytest.mark.parametrize("workers", [1, 4])
def test_loader_workers_read_the_same_tail(run_dir: Path, straight: list[Read], workers: int) -> None:
    for start in (0, 1, 7, 99, 150, STEPS - 1):
        assert list(tail(run_dir, start, workers=workers)) == straight[start:]


def test_a_sample_does_not_depend_on_what_was_read_before(run_dir: Path) -> None:
    """A thousand random positions of random seeds, each as the first one read and after others."""
    data, draw = open_data(load_run(run_dir)), random.Random(6)
    [windows], split = data.stream.streams, data.dataset.split("train")
    for _ in range(50):
        seed = draw.randrange(2**32)
        used = Stream(split, windows.config, seed)
        for _ in range(20):
            position = draw.randrange(10 * len(used))
            fresh = Stream(split, windows.config, seed)
            assert fresh.locate(position) == used.locate(position)
            assert fresh.sample(position).tokens.tolist() == used.sample(position).tokens.tolist()
