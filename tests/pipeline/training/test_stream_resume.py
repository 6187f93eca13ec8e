"""The stream of batches goes on from every step: the whole ordered tail is that of the stream read from the start."""

import random
from collections.abc import Iterable, Iterator
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

MIXTURE = [
    {"mode": 0, "weight": 2, "select": {"kind": "t5_spans"}},
    {"mode": 1, "select": {"kind": "t5_spans", "mean_span_length": 1000, "noise_density": 0.25, "edges": "t5"}},
    {"mode": 2, "select": {"kind": "t5_spans", "mean_span_length": 8, "noise_density": 0.5}},
]
STREAMS: dict[str, dict[str, Any]] = {
    "one corruption": {},
    "a mixture by sample": {"corruption": {"mixture": MIXTURE}},
    "a mixture by step, in phases": {
        "corruption": {"mixture": MIXTURE, "mixture_per": "step"},
        "phases": [
            {"at_step": 60, "corruption": {"mixture": MIXTURE[:2]}},
            {"at_step": 140, "stream": {"window": 32}},
        ],
    },
}


@pytest.fixture(scope="module", params=STREAMS)
def run_dir(make_run: Any, request: pytest.FixtureRequest) -> Path:
    """Two hundred steps of four samples: more than three epochs (of windows of the first size)."""
    return make_run(steps=STEPS, global_batch=GLOBAL_BATCH, micro_batch=1, sections=STREAMS[request.param])


def tail(
    run_dir: Path, start: int, rank: int = 0, ranks: int = 1, workers: int = 0, micro_batch: int = 1
) -> Iterator[Read]:
    """(Position, digest of the views) of each sample that a rank reads, by step, from a start of its own."""
    config = load_run(run_dir)
    config = config.model_copy(update={"training": config.training.model_copy(update={"micro_batch": micro_batch})})
    positions = RankPositions(config.training, rank, ranks, start)
    for micro_batches in load_steps(open_data(config).micro_batches, positions, workers, CPU):
        yield [sample for micro_batch in micro_batches for sample in sample_digests(micro_batch)]


@pytest.fixture(scope="module")
def straight(run_dir: Path) -> list[Read]:
    """The steps of one rank from the start, a sample at a time."""
    steps = list(tail(run_dir, 0))
    assert [position for step in steps for position, _ in step] == list(range(STEPS * GLOBAL_BATCH))
    assert 3 * len(open_data(load_run(run_dir)).stream.streams[0]) < STEPS * GLOBAL_BATCH
    return steps


def check_tails(run_dir: Path, straight: list[Read], ranks: int, workers: int, starts: Iterable[int]) -> None:
    """From each start each rank reads its part of the whole tail, in micro-batches that make one forward a step."""
    part = GLOBAL_BATCH // ranks
    for rank in range(ranks):
        of_rank = [step[rank * part : (rank + 1) * part] for step in straight]
        for start in starts:
            assert list(tail(run_dir, start, rank, ranks, workers, part)) == of_rank[start:], (rank, start)


@pytest.mark.parametrize("ranks", [2, 4])
def test_forwards_are_dealt_out_to_the_ranks_by_turns(run_dir: Path, straight: list[Read], ranks: int) -> None:
    """In micro-batches of one sample, forward a of a step reads sample a * ranks + rank."""
    for rank in range(ranks):
        assert list(tail(run_dir, 150, rank, ranks)) == [step[rank::ranks] for step in straight[150:]]
    config = load_run(run_dir).training
    for rank in range(ranks):
        everything = list(RankPositions(config, rank, ranks, 0))
        for start in range(STEPS):
            assert list(RankPositions(config, rank, ranks, start)) == everything[start * GLOBAL_BATCH // ranks :]


LONG = [pytest.param(ranks, every, marks=pytest.mark.long) for ranks, every in ((1, 1), (2, 1), (4, 1))]


@pytest.mark.parametrize(("ranks", "every"), [*((ranks, 163) for ranks in (1, 2, 4)), *LONG])
def test_from_every_step_each_rank_reads_its_part_of_the_tail(
    run_dir: Path, straight: list[Read], ranks: int, every: int
) -> None:
    check_tails(run_dir, straight, ranks, workers=0, starts=range(0, STEPS, every))


@pytest.mark.long
@pytest.mark.parametrize(("ranks", "starts"), [(1, (1, 99, STEPS - 1)), (2, (99,)), (4, (99,))])
@pytest.mark.parametrize("workers", [1, 4])
def test_loader_workers_read_the_same_tail(
    run_dir: Path, straight: list[Read], ranks: int, starts: tuple[int, ...], workers: int
) -> None:
    check_tails(run_dir, straight, ranks, workers, starts)


def test_a_sample_does_not_depend_on_what_was_read_before(make_run: Any) -> None:
    """A thousand random positions of random seeds, each as the first one read and after others."""
    data, draw = open_data(load_run(make_run())), random.Random(6)
    [windows], split = data.stream.streams, data.dataset.split("train")
    for _ in range(50):
        seed = draw.randrange(2**32)
        used = Stream(split, windows.config, seed)
        for _ in range(20):
            position = draw.randrange(10 * len(used))
            fresh = Stream(split, windows.config, seed)
            assert fresh.locate(position) == used.locate(position)
            assert fresh.sample(position).tokens.tolist() == used.sample(position).tokens.tolist()
