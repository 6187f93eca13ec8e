"""Moved to another number of ranks and another ZeRO stage, a run has the same state and reads the same samples."""

import itertools
from pathlib import Path
from typing import Any

import pytest

from data_prep.errors import InputError
from pipeline.training.config import accumulation_steps

from .conftest import metrics, run_jobs
from .plain_path import check_losses

FIELDS = {"model": {"num_layers": 1}, "global_batch": 12, "micro_batch": 1, "evaluate_every": 8, "learning_rate": 1e-3}
Part = tuple[int, int, int]  # ranks, ZeRO stage, steps done at its end
Chain = tuple[Part, ...]
QUICK: tuple[Chain, ...] = (((2, 2, 2), (1, 3, 4), (4, 1, 10)),)
STAGE_CHANGES = (*itertools.permutations((1, 2, 3), 2), (0, 0))
SOME_CHANGES = ((1, 2), (2, 3), (3, 1), (0, 0))
MOVES = {(2, 2): STAGE_CHANGES, (2, 1): STAGE_CHANGES, (1, 2): SOME_CHANGES, (2, 4): SOME_CHANGES, (4, 3): SOME_CHANGES}
"""Numbers of ranks before and after three steps; twenty follow."""
LONG: dict[str, tuple[Chain, ...]] = {
    f"{old} to {new}": tuple(((old, before, 3), (new, after, 23)) for before, after in changes)
    for (old, new), changes in MOVES.items()
}
LONG["2 to 1 to 4"] = tuple(
    ((2, first, 3), (1, second, 6), (4, third, 26))
    for first, second, third in ((1, 2, 3), (3, 1, 2), (2, 3, 1), (0, 0, 0))
)


def other(number: int) -> dict[str, Any]:
    """An optimizer that keeps other moments than AdamW, or sees whole matrices."""
    optimizer = ("schedule_free", "muon", "lion", "rms_adamw")[number % 4]
    return {"optimizer": optimizer, "schedule": {"kind": "constant" if optimizer == "schedule_free" else "cosine"}}


def merged(samples: dict[int, str], reports: list[dict[str, Any]]) -> dict[int, str]:
    """Position -> digest of tokens, masks and labels, over ranks and parts; what is read twice is the same twice."""
    for report in reports:
        for position, digest in report["samples"]:
            assert samples.setdefault(position, digest) == digest
    return samples


def figures(run_dir: Path, name: str) -> list[float]:
    return [record[name] for record in metrics(run_dir) if name in record]


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize(
    "chains",
    [
        pytest.param(QUICK, id="some"),
        *(pytest.param(chains, marks=pytest.mark.long, id=name) for name, chains in LONG.items()),
    ],
)
def test_moved_to_other_ranks_and_stages_state_samples_and_masks_are_the_same(
    make_run: Any, tmp_path: Path, chains: tuple[Chain, ...]
) -> None:
    steps = chains[0][-1][2]
    straight = make_run(ranks=2, zero_stage=2, precision="fp32", steps=steps, **FIELDS)
    single = [make_run(ranks=2, precision="fp32", steps=steps, **FIELDS) for _ in chains]
    halves = [
        make_run(ranks=2, precision="bf16", steps=steps, **FIELDS, **other(number)) for number in range(len(chains))
    ]
    expected: dict[int, str] = {}
    read: list[dict[int, str]] = [{} for _ in chains]
    for part, parts in enumerate(zip(*chains, strict=True)):
        ranks, before = parts[0][0], chains[0][part - 1][2] if part else 0
        jobs = [
            {"run_dir": str(run_dir), "stop_after": length, "training": {"ranks": ranks, "zero_stage": stage}}
            for runs, length in ((single, parts[0][2] - before), (halves, 1))
            for run_dir, (_, stage, _) in zip(runs, parts, strict=True)
        ]
        reports = run_jobs(
            [*jobs, *([{"run_dir": str(straight)}] if part == 0 else [])], ranks, tmp_path, f"part-{part}"
        )
        for number, of_ranks in enumerate(reports[: len(jobs)]):
            restored = before if number < len(chains) else part
            assert [report["restored"] for report in of_ranks] == [[restored] if part else []] * ranks
            # Masters, moments and the weights that forward reads, bit for bit.
            assert [report["differences"] for report in of_ranks] == [[]] * ranks
        for samples, of_ranks in zip(read, reports, strict=False):
            merged(samples, of_ranks)
        expected = expected or merged({}, reports[-1])
    assert sorted(expected) == list(range(steps * 12))
    for run_dir, samples in zip(single, read, strict=True):
        assert samples == expected
        assert figures(run_dir, "tokens") == figures(straight, "tokens")
        # In fp32 the order of the sums over ranks and micro-batches is all that differs.
        for name in ("loss", "heldout_loss"):
            assert figures(run_dir, name) == pytest.approx(figures(straight, name), rel=1e-6), name
    check_losses(straight)


def test_a_number_of_ranks_that_does_not_divide_the_batch_is_refused_with_those_that_do() -> None:
    with pytest.raises(InputError) as caught:
        accumulation_steps(12, 2, 4)
    message = str(caught.value)
    assert "training.global_batch=12 is not a multiple of micro_batch=2 x ranks=4 = 8" in message
    assert "with micro_batch=2 these numbers of ranks work: 1, 2, 3, 6" in message
    assert "with ranks=4 these values of micro_batch work: 1, 3" in message
