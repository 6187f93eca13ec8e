"""Predictions over time: each sample once, right or wrong at each place."""

from typing import Any

from launch.report.samples import shown_samples


def record(step: int, *places: tuple[str, str, str | None]) -> dict[str, Any]:
    """A line of samples.jsonl with one sample; a place is (read, label, predicted)."""
    asked = [dict(zip(("read", "label", "predicted"), place, strict=True)) for place in places]
    return {"step": step, "samples": [{"reads": {"encoder": ["a"]}, "asked": asked}]}


def test_a_prediction_is_right_where_it_is_the_label() -> None:
    [sample] = shown_samples(
        [record(1, ("m", "cat", "dog"), ("m", "x", "x")), record(2, ("m", "cat", "cat"), ("m", "x", "x"))]
    )
    assert sample.wanted == ["cat", "x"]
    assert [(step, share) for step, _, share in sample.lines] == [(1, 0.5), (2, 1.0)]


def test_a_detection_is_right_where_it_takes_a_replaced_token_for_replaced_and_no_other() -> None:
    places = ("dog", "cat", "dog"), ("dog", "cat", None), ("sun", "sun", None)
    [sample] = shown_samples([record(1, *places)])
    [(_, written, _)] = sample.lines
    assert [(place.text, place.right) for place in written] == [("dog", True), ("kept", False), ("kept", True)]


def test_of_many_records_a_few_are_shown_the_first_and_the_last_among_them() -> None:
    [sample] = shown_samples([record(step, ("m", "cat", "cat")) for step in range(1, 101)])
    steps = [step for step, _, _ in sample.lines]
    assert (steps[0], steps[-1], len(steps)) == (1, 100, 8)


def test_a_sample_that_was_another_before_a_change_of_phase_is_not_mixed_with_it() -> None:
    [sample] = shown_samples([record(1, ("m", "old", "old")), record(2, ("m", "new", "new"))])
    assert [step for step, _, _ in sample.lines] == [2]
    assert shown_samples([]) == []
