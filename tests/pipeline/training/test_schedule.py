import re

import pytest
from pydantic import ValidationError

from data_prep.errors import InputError
from pipeline.training.config import TrainingConfig, accumulation_steps
from pipeline.training.optimizers.groups import groups_of
from pipeline.training.schedule import learning_rate, step_plan


def config(steps: int = 100, **schedule) -> TrainingConfig:
    return TrainingConfig(steps=steps, global_batch=8, micro_batch=2, learning_rate=1e-3, schedule=schedule)


def test_warm_up_is_linear_and_reaches_the_full_rate_with_its_last_step():
    for kind in ("cosine", "linear", "inverse_sqrt", "wsd", "constant"):
        rates = [learning_rate(config(kind=kind, warmup_steps=4), step) for step in range(4)]
        assert rates == pytest.approx([0.25e-3, 0.5e-3, 0.75e-3, 1e-3])


def test_cosine_falls_from_the_rate_to_the_minimum():
    run = config(kind="cosine", warmup_steps=20, min_lr_ratio=0.1)
    assert learning_rate(run, 20) == pytest.approx(1e-3)
    assert learning_rate(run, 60) == pytest.approx(0.55e-3)  # half-way: the mean of both
    assert learning_rate(run, 100) == pytest.approx(0.1e-3)
    rates = [learning_rate(run, step) for step in range(20, 101)]
    assert rates == sorted(rates, reverse=True)


def test_cosine_with_its_own_length_stays_at_the_minimum_afterwards():
    run = config(kind="cosine", decay_steps=40, min_lr_ratio=0.2)
    assert learning_rate(run, 20) == pytest.approx(0.6e-3)
    assert learning_rate(run, 40) == learning_rate(run, 99) == pytest.approx(0.2e-3)


def test_linear_falls_on_a_line_to_the_minimum_and_stays_there():
    run = config(kind="linear", warmup_steps=20, min_lr_ratio=0.2)
    assert [learning_rate(run, step) for step in (20, 40, 60, 100)] == pytest.approx([1e-3, 0.8e-3, 0.6e-3, 0.2e-3])
    short = config(kind="linear", warmup_steps=20, decay_steps=40)
    assert learning_rate(short, 50) == pytest.approx(0.25e-3)
    assert learning_rate(short, 60) == learning_rate(short, 99) == 0.0


def test_inverse_sqrt_halves_when_four_times_the_warm_up_is_done():
    run = config(kind="inverse_sqrt", warmup_steps=10)
    assert learning_rate(run, 9) == pytest.approx(1e-3)
    assert learning_rate(run, 39) == pytest.approx(0.5e-3)


def test_inverse_sqrt_can_end_linearly():
    run = config(kind="inverse_sqrt", warmup_steps=10, decay_steps=20)
    assert learning_rate(run, 80) == pytest.approx(learning_rate(run, 79), rel=0.01)
    assert learning_rate(run, 90) == pytest.approx(learning_rate(run, 80) / 2)
    assert learning_rate(run, 100) == 0.0


def test_wsd_is_constant_and_then_falls_linearly():
    run = config(kind="wsd", warmup_steps=10, decay_steps=40, min_lr_ratio=0.5)
    assert {learning_rate(run, step) for step in range(10, 61)} == {1e-3}
    assert learning_rate(run, 80) == pytest.approx(0.75e-3)
    assert learning_rate(run, 100) == pytest.approx(0.5e-3)


def test_wsd_decays_for_a_tenth_of_the_run_unless_told_otherwise():
    run = config(kind="wsd")
    assert learning_rate(run, 89) == 1e-3
    assert learning_rate(run, 95) == pytest.approx(0.5e-3)


def test_a_warm_up_longer_than_the_run_is_refused():
    with pytest.raises(ValidationError, match="100"):
        config(warmup_steps=100)


def test_two_lengths_of_the_warm_up_are_refused_and_each_can_be_taken_back():
    with pytest.raises(ValidationError, match="take the other back by warmup_steps=null or warmup_ratio=0"):
        config(warmup_steps=10, warmup_ratio=0.2)
    assert config(warmup_steps=None, warmup_ratio=0.2).warmup_steps == 20
    assert config(warmup_steps=10, warmup_ratio=0.0).warmup_steps == 10


def test_a_batch_that_does_not_divide_lists_what_does():
    with pytest.raises(InputError, match=r"global_batch=12 .* micro_batch=2 x ranks=4 = 8; .*ranks work: 1, 2, 3, 6; "):
        accumulation_steps(12, 2, 4)
    with pytest.raises(InputError, match="with ranks=4 these values of micro_batch work: 1, 3"):
        accumulation_steps(12, 2, 4)
    with pytest.raises(InputError, match="numbers of ranks that divide global_batch: 1, 7"):
        accumulation_steps(7, 2, 2)
    assert accumulation_steps(12, 2, 3) == 2


def test_the_config_refuses_such_a_batch_too():
    with pytest.raises(ValidationError, match="global_batch=9"):
        TrainingConfig(steps=1, global_batch=9, micro_batch=2)


PRESUMM = {
    "encoder": {
        "parameters": ["model.encoder.*"],
        "learning_rate": 2e-3 * 20_000**-0.5,
        "schedule": {"kind": "inverse_sqrt", "warmup_steps": 20_000},
    },
    "decoder": {
        "parameters": ["model.decoder.*"],
        "learning_rate": 0.1 * 10_000**-0.5,
        "schedule": {"kind": "inverse_sqrt", "warmup_steps": 10_000},
    },
}


def scheduled(**fields):
    return TrainingConfig.model_validate({"steps": 100, "global_batch": 8, "micro_batch": 8, **fields})


@pytest.mark.parametrize("step", [0, 5_000, 9_999, 15_000, 19_999, 100_000])
def test_two_groups_follow_the_rates_of_presumm(step):
    """Liu and Lapata 2019, section 4.2: lr * min(step ** -0.5, step * warmup ** -1.5), steps from 1."""
    rates = step_plan(scheduled(steps=200_000, groups=PRESUMM), step).group_rates
    for group, rate, warmup in (("encoder", 2e-3, 20_000), ("decoder", 0.1, 10_000)):
        assert rates[group] == pytest.approx(rate * min((step + 1) ** -0.5, (step + 1) * warmup**-1.5), rel=1e-12)


def test_a_schedule_free_optimizer_takes_no_decay_anywhere():
    constant = {"kind": "constant", "warmup_steps": 10}
    free = {"optimizer": "schedule_free", "schedule": constant}
    assert learning_rate(scheduled(**free), 99) == scheduled(**free).learning_rate
    for place, fields in (
        ("schedule", {"optimizer": "schedule_free"}),
        ("groups.top.schedule", {**free, "groups": {"top": {"parameters": ["a"], "schedule": {"kind": "wsd"}}}}),
    ):
        with pytest.raises(ValidationError, match=rf"{place}\.kind is '\w+' and optimizer is 'schedule_free'"):
            scheduled(**fields)


def test_a_frozen_group_has_no_rate_and_begins_its_own_warm_up_when_it_is_let_go():
    config = scheduled(
        learning_rate=1.0,
        groups={"top": {"parameters": ["a"], "frozen_steps": 10, "schedule": {"kind": "wsd", "warmup_steps": 4}}},
    )
    plans = [step_plan(config, step) for step in range(15)]
    assert [plan.group_rates["top"] for plan in plans] == [0.0] * 10 + [0.25, 0.5, 0.75, 1.0, 1.0]
    assert [bool(plan.frozen) for plan in plans] == [True] * 10 + [False] * 5


def test_a_loss_weight_moves_between_its_points_and_stays_at_the_last():
    config = scheduled(loss_weights={"a": 0.5, "b": [[10, 0.0], [20, 1.0]]})
    weights = [step_plan(config, step).loss_weights for step in (0, 10, 15, 20, 90)]
    assert [weight["b"] for weight in weights] == [0.0, 0.0, 0.5, 1.0, 1.0]
    assert {weight["a"] for weight in weights} == {0.5}
    assert step_plan(scheduled(), 3).loss_weights == {}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"groups": {"top": {"parameters": ["a"], "frozen_steps": 100}}}, "groups.top.frozen_steps is 100 of a run of"),
        (
            {"groups": {"top": {"parameters": ["a"], "frozen_steps": 90, "schedule": {"warmup_steps": 10}}}},
            "groups.top: schedule.warmup_steps is 10 but the run has only steps=10",
        ),
        ({"loss_weights": {"a": [[5, 1.0], [5, 0.0]]}}, "loss_weights.a: give a factor"),
        ({"loss_weights": {"a": -1.0}}, "loss_weights.a: give a factor of at least 0"),
    ],
)
def test_schedules_that_cannot_work_are_refused(fields, message):
    with pytest.raises(ValidationError, match=re.escape(message)):
        scheduled(**fields)


def test_a_parameter_goes_to_the_first_group_that_names_it_and_an_empty_group_is_refused():
    groups = scheduled(groups={"a": {"parameters": ["x.*"]}, "b": {"parameters": ["*.w"]}}).groups
    assert groups_of(groups, ["x.w", "y.w", "y.b"]) == {"x.w": "a", "y.w": "b", "y.b": ""}
    with pytest.raises(InputError, match=r"training.groups.b: no parameter is named like \*\.w and left"):
        groups_of(groups, ["x.w", "y.b"])
