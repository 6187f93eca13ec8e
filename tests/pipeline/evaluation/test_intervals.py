"""Intervals that are known by other means."""

import numpy as np
import pytest

from pipeline.evaluation.intervals import Interval, bootstrap_interval, student_interval


def test_three_runs_have_students_interval() -> None:
    interval = student_interval([1.0, 2.0, 3.0])
    assert interval.mean == 2.0
    assert interval.high is not None
    assert interval.high - 2.0 == pytest.approx(4.3027 / 3**0.5, abs=1e-3)  # t of two degrees of freedom
    assert student_interval([0.5]) == Interval(0.5, None, None)


def test_a_bootstrap_interval_of_many_items_is_the_normal_one() -> None:
    values = np.random.default_rng(3).normal(5.0, 2.0, 4000)
    interval = bootstrap_interval(values)
    half = 1.96 * values.std() / 4000**0.5
    assert interval.low == pytest.approx(values.mean() - half, abs=0.1 * half)
    assert interval.high == pytest.approx(values.mean() + half, abs=0.1 * half)


def test_a_bootstrap_interval_repeats() -> None:
    values = np.arange(30.0)
    assert bootstrap_interval(values) == bootstrap_interval(values)
    assert bootstrap_interval(values) != bootstrap_interval(values, seed=1)


def test_items_that_agree_leave_no_doubt() -> None:
    assert bootstrap_interval([1.0] * 20) == Interval(1.0, 1.0, 1.0)
