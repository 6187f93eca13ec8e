"""Calls to workers: short tasks share one, long ones do not, and all come in order."""

from pathlib import Path
from typing import Any

import pytest

from data_prep.calls import CALL_SECONDS, Waiting, execute_all
from data_prep.errors import InputError
from data_prep.work import WorkFolder


class Numbered:
    def __init__(self, number: int) -> None:
        self.number, self.id = number, f"numbered-{number}"


def calls(seconds: float, num_tasks: int, num_workers: int) -> list[list[int]]:
    """The numbers of the tasks of all calls, where each task takes `seconds`."""
    waiting = Waiting([Numbered(number) for number in range(num_tasks)], num_workers)
    taken = []
    while waiting:
        taken.append([task.number for task in waiting.take()])
        waiting.took(seconds)
    return taken


@pytest.mark.parametrize("seconds", [0.0, CALL_SECONDS / 7, CALL_SECONDS, 60.0])
def test_every_task_has_its_turn_in_order(seconds: float) -> None:
    assert [number for call in calls(seconds, 100, 3) for number in call] == list(range(100))


def test_short_tasks_share_calls_and_the_last_ones_are_left_for_all_workers() -> None:
    sizes = [len(call) for call in calls(CALL_SECONDS / 5, 200, 2)]
    assert sizes[0] == 1
    assert 4 <= max(sizes) <= 5
    assert len(sizes) < 70
    assert sizes[-6:] == [1] * 6
    assert max(map(len, calls(CALL_SECONDS, 200, 2))) == 1


def test_a_call_ends_at_the_first_error_and_keeps_what_was_done_before_it(tmp_path: Path) -> None:
    def number(task: Any, work: WorkFolder) -> dict[str, Any]:
        if task.number == 2:
            raise InputError("2: bad")
        return {"number": task.number}

    work = WorkFolder(tmp_path)
    with work.locked():
        results, seconds = execute_all(number, [Numbered(n) for n in range(4)], tmp_path)
        assert results[:2] == [{"number": 0}, {"number": 1}]
        assert [type(result) for result in results[2:]] == [InputError]
        assert seconds > 0
        assert [work.record(f"numbered-{n}") is not None for n in range(4)] == [True, True, False, False]
