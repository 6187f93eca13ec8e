"""How a failed training is judged: who is to blame, who is alive, what a person is told. No processes."""

import time
from pathlib import Path

import pytest

from data_prep.errors import InputError
from launch.nodes.address import address_of
from launch.nodes.board import Attempt, Board, Presence, introduce
from launch.nodes.diagnosis import Failure, blamed, hanging
from launch.ranks import log_of
from pipeline.training.heartbeat import Beat
from pipeline.training.reports.health import warnings_of

WAITING = 'File "torch/distributed/distributed_c10d.py", line 1 in all_reduce'
WORKING = 'File "pipeline/model/attention.py", line 1 in forward'


def beat(rank: int, step: int = 5, own: float = 1.0, wait: float = 0.0) -> Beat:
    return Beat(rank, f"host{rank}", 1, step, 2.0, own, wait, float(rank))


@pytest.mark.parametrize(
    ("codes", "errors", "expected"),
    [
        ({0: 1, 1: -9, 2: 1}, {}, 1),  # the others lost it
        ({0: 1, 1: None, 2: 1}, {2: "step 3: the loss is nan"}, 2),
        ({0: 1, 1: -9, 2: 2}, {2: "no such file"}, 2),  # wrong input is no accident
        ({0: 0, 1: 75, 2: 1}, {}, 2),
        ({0: 0, 1: 75}, {}, None),
    ],
)
def test_the_rank_that_failed_first_is_blamed(
    tmp_path: Path, codes: dict[int, int | None], errors: dict[int, str], expected: int | None
) -> None:
    log_of(tmp_path, 0).parent.mkdir(parents=True)
    for rank, text in errors.items():
        log_of(tmp_path, rank, "error").write_text(text)
    assert blamed(tmp_path, codes) == expected


@pytest.mark.parametrize(
    ("stacks", "steps", "expected"),
    [
        ([WAITING, WORKING, WAITING], [5, 5, 5], 1),
        ([WAITING, WAITING, ""], [5, 5, 5], 2),
        ([WAITING, WAITING, WORKING], [5, 0, 5], 1),
        ([WAITING, WAITING, WAITING], [5, 5, 5], 0),
    ],
)
def test_a_hang_is_put_down_to_the_rank_the_others_wait_for(
    tmp_path: Path, stacks: list[str], steps: list[int], expected: int
) -> None:
    log_of(tmp_path, 0).parent.mkdir(parents=True)
    for rank, text in enumerate(stacks):
        log_of(tmp_path, rank, "stacks").write_text(text)
    beats = [beat(rank, step) for rank, step in enumerate(steps) if step]
    assert hanging(tmp_path, 3, beats) == expected


def test_only_ranks_that_fail_by_themselves_at_one_step_count_as_the_same_failure() -> None:
    failure = Failure("rank", "m", step=7)
    assert failure.counts_against(Failure("rank", "n", step=7))
    assert not failure.counts_against(Failure("rank", "m", step=6))
    assert not failure.counts_against(Failure("node", "m", step=7))
    assert not Failure("hang", "m", step=7).counts_against(Failure("hang", "m", step=7))
    assert not failure.counts_against(None)


def test_a_node_lives_as_long_as_its_report_changes_and_an_old_report_is_not_believed() -> None:
    presence, node = Presence(limit_seconds=0.2), introduce(1)
    assert presence.alive([node]) == []  # it may be years old
    node = node._replace(beat=1)
    assert presence.alive([node]) == [node]
    time.sleep(0.3)
    assert presence.alive([node]) == []
    node = node._replace(beat=2)
    assert presence.alive([node]) == [node]


def test_the_board_gives_back_what_was_put_up(tmp_path: Path) -> None:
    board = Board(tmp_path)
    report = introduce(3)._replace(codes=(None, -9), ended=False)
    attempt = Attempt(2, "running", (report.name,), 8, "10.0.0.1", 4000)
    assert (board.reports(), board.attempt()) == ([], None)
    board.tell(report)
    board.publish(attempt)
    (board.folder / "node-4.json").write_text('{"half')
    assert (board.reports(), board.attempt()) == ([report], attempt)
    assert not board.asked_to_stop()
    board.ask_to_stop()
    assert Board(tmp_path).asked_to_stop()


def test_addresses_are_those_of_the_interface() -> None:
    assert address_of("lo") == "127.0.0.1"
    assert address_of(None, alone=True) == "127.0.0.1"
    with pytest.raises(InputError, match=r"cluster\.interface: nothere has no address.*lo"):
        address_of("nothere")


def test_slow_ranks_starvation_and_a_full_disk_are_told() -> None:
    well = [beat(rank) for rank in range(4)]
    assert warnings_of(well, free_bytes=10, checkpoint_bytes=5) == {}
    assert warnings_of([beat(0), beat(1, own=9.0)], 10, 0) == {}  # of two, neither is the unusual one
    found = warnings_of([*well, beat(4, own=1.6, wait=0.3)], free_bytes=9, checkpoint_bytes=5)
    assert "rank 4 on host4 is slow" in found["slow rank"]
    assert "30% of a step on rank 4" in found["data"]
    assert "nearly full" in found["disk"]
