"""Random-LTD's schedules: what is kept grows on a line, and learning rates count what the layers see."""

import copy
import itertools
from fractions import Fraction
from typing import Any

import pytest

from data_prep.errors import InputError
from pipeline.checkpoint.compatible import check_continues
from pipeline.config import RunConfig, load_config
from pipeline.training.config import TrainingConfig
from pipeline.training.random_ltd import RandomLtd, kept_share, schedule_clock
from pipeline.training.schedule import learning_rate, step_plan

LTD = RandomLtd(start_share=0.25, full_at_step=70, share_increment=0.125)
STEPS = 100


def training(ltd: RandomLtd | None = LTD, **fields: Any) -> TrainingConfig:
    return TrainingConfig(steps=STEPS, global_batch=8, micro_batch=2, learning_rate=1.0, random_ltd=ltd, **fields)


def test_the_share_grows_on_a_line_by_whole_increments_and_ends_with_everything() -> None:
    shares = [kept_share(LTD, step) for step in range(STEPS)]
    assert shares[0] == 0.25
    assert {later - earlier for earlier, later in itertools.pairwise(shares)} == {0.0, 0.125}
    assert shares[69] == 0.875
    assert shares[70] == shares[99] == 1.0
    on_the_line = [0.25 + 0.75 * step / 70 for step in range(70)]
    assert all(0 <= line - share < 0.125 for line, share in zip(on_the_line, shares, strict=False))


@pytest.mark.parametrize(("start", "full_at", "increment"), [(0.25, 70, 0.125), (0.3, 7, 0.01), (0.99, 3, 1.0)])
def test_shares_by_the_number_of_steps_are_those_step_by_step(start: float, full_at: int, increment: float) -> None:
    ltd = RandomLtd(start_share=start, full_at_step=full_at, share_increment=increment)
    for first, stop in ((0, STEPS), (0, 3), (2, 5), (full_at, STEPS), (4, 4)):
        one_by_one = [kept_share(ltd, step) for step in range(first, stop)]
        assert [share for share, count in ltd.shares(first, stop) for _ in range(count)] == one_by_one


def test_layer_tokens_add_up_exactly() -> None:
    """Of 8 + 4 layers 6 + 2 drop tokens."""
    clock = schedule_clock(LTD, (8, 4))
    consumed = Fraction(0)
    for step in range(STEPS):
        assert clock(step) == pytest.approx(float(consumed), abs=1e-9)
        consumed += (4 + 8 * Fraction(LTD.kept(step), 2**16)) / 12
    assert clock(STEPS) == pytest.approx(float(consumed), abs=1e-9)
    assert clock(STEPS) < STEPS - 10


def test_warm_up_and_decay_count_layer_tokens_and_the_run_ends_at_the_minimum() -> None:
    clock = schedule_clock(LTD, (12,))
    plain, ours = (
        [step_plan(training(ltd, schedule={"kind": "linear", "warmup_steps": 10}), step, used).learning_rate
         for step in range(STEPS)]
        for ltd, used in ((None, float), (LTD, clock))
    )  # fmt: skip
    assert plain.index(1.0) == 9
    assert max(ours) == pytest.approx(1.0, abs=0.02)
    assert 20 < ours.index(max(ours)) < 30  # layers see about 0.4 of the tokens at first
    end = clock(STEPS)
    for step in (40, 69, 70, 99):
        assert ours[step] == pytest.approx((end - clock(step)) / (end - 10))
    assert ours[50] > plain[50]


def test_rates_that_count_steps_are_those_without_dropping() -> None:
    by_steps = training(LTD.model_copy(update={"layer_token_schedule": False}), schedule={"warmup_steps": 10})
    clock = schedule_clock(by_steps.random_ltd, (12,))
    without = training(None, schedule={"warmup_steps": 10})
    assert [learning_rate(by_steps, step, clock) for step in range(STEPS)] == [
        learning_rate(without, step) for step in range(STEPS)
    ]


def test_a_group_that_is_frozen_at_first_counts_from_where_it_is_let_go() -> None:
    late = training(groups={"late": {"parameters": ["a"], "frozen_steps": 30, "schedule": {"warmup_steps": 10}}})
    clock = schedule_clock(LTD, (12,))
    rates = [step_plan(late, step, clock).group_rates["late"] for step in range(STEPS)]
    assert rates[29] == 0.0
    assert rates[30] == pytest.approx((clock(31) - clock(30)) / 10)


def run_config(*overrides: str) -> RunConfig:
    ltd = "training.random_ltd={start_share: 0.5, full_at_step: 50}"
    return load_config(
        "t5_span", ["data.paths=[corpus]", "training.steps=100", "training.schedule.warmup_ratio=0.1", ltd, *overrides]
    )


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("training.random_ltd.full_at_step=200", "full_at_step is 200 of a run of 100 steps"),
        ("training.random_ltd.start_share=1.5", "training.random_ltd.start_share"),
        ("training.random_ltd.keep=1", "training.random_ltd.keep"),
        ("model.num_layers=2", "all layers but the first and the last, and the model has 2 and 2"),
        ("training.schedule={warmup_ratio: 0.9}", "see the tokens of 8[0-9.]+ whole steps"),
    ],
)
def test_what_cannot_work_is_refused(override: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        run_config(override)


def test_a_run_goes_on_only_with_the_dropping_it_was_trained_with() -> None:
    config = run_config().model_dump(mode="json")
    check_continues(config, config, step=20)
    longer = copy.deepcopy(config)
    longer["training"]["random_ltd"]["full_at_step"] = 60
    with pytest.raises(InputError, match=r"training\.random_ltd\.full_at_step was 50"):
        check_continues(config, longer, step=20)
    without = copy.deepcopy(config)
    without["training"]["random_ltd"] = None
    with pytest.raises(InputError, match=r"training\.random_ltd was"):
        check_continues(config, without, step=20)
