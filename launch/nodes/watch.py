"""One attempt, seen from its leader: until all ranks have ended, one failed, a node fell silent, or nothing moves.

Invariant: when `until_the_end` has returned, no rank of the attempt is left on any node that can be reached.
"""

import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from data_prep.errors import SpanwrightError, StoppedEarlyError
from launch.clusters.config import Supervision
from launch.nodes.board import BEAT_SECONDS, Attempt, Board, NodeReport, Presence
from launch.nodes.diagnosis import Failure, blamed, hanging, rank_failure
from launch.ranks import LocalRanks, error_of
from pipeline.config import RunConfig
from pipeline.training.heartbeat import read_beats

_POLL_SECONDS = 0.1
_GRACE_SECONDS = 3.0  # for the others to say what they know, and for stacks to be written
_USUAL_STEPS = 20.0
_LEAST_HANG_SECONDS = 300.0


class Ending(NamedTuple):
    """How an attempt ended: exit code, its message, the last step, and the failure if it was one."""

    code: int
    message: str | None
    step: int
    failure: Failure | None


class Watch:
    """The ranks of one attempt, ours and the other nodes'."""

    def __init__(
        self, config: RunConfig, limits: Supervision, board: Board, presence: Presence, attempt: Attempt,
        nodes: list[NodeReport],
    ) -> None:  # fmt: skip
        self.attempt = attempt
        self._run_dir = Path(config.run_dir)
        self._beats = config.train_dir / "beats"
        self._limits, self._board, self._presence, self._nodes = limits, board, presence, nodes
        self._next_beat = 0.0
        self._moved = time.monotonic()
        self._step = self._steps_seen = 0
        shutil.rmtree(self._beats, ignore_errors=True)  # of the attempt before

    def until_the_end(self, ranks: LocalRanks, asked: Callable[[], bool], at_once: Callable[[], bool]) -> Ending:
        """Watch `ranks` (this node's) and the others; ends all that is left."""
        told = False
        self._publish()
        try:
            while True:
                codes = self._codes(ranks)
                if asked() and not told:
                    ranks.send(signal.SIGTERM)
                    told = True
                if at_once():
                    return Ending(SpanwrightError.exit_code, "stopped at once; the same command continues", 0, None)
                if ending := self._ending(ranks, codes, told):
                    return ending
                self._publish()
                time.sleep(_POLL_SECONDS)
        finally:
            ranks.end()
            self._publish("over")
            self._wait_for_others()

    def _ending(self, ranks: LocalRanks, codes: dict[int, int | None], told: bool) -> Ending | None:
        if any(code not in (None, 0, StoppedEarlyError.exit_code) for code in codes.values()):
            return self._failed_rank(ranks, told)
        if None not in codes.values():
            stopped = next((rank for rank, code in codes.items() if code == StoppedEarlyError.exit_code), None)
            if stopped is not None:
                message = error_of(self._run_dir, stopped)
                return Ending(StoppedEarlyError.exit_code, message, self._last_step(), None)
            return Ending(0, None, self._last_step(), None)
        if gone := self._gone():
            message = f"node {gone.node} ({gone.host}) gave no sign of life for {self._limits.node_seconds:.0f} s"
            self._stacks(ranks)
            return self._failed(Failure("node", message, self._last_step(), None, gone.host))
        if (seconds := self._still_for()) is not None:
            what = f"no step for {seconds:.0f} s" if self._steps_seen else f"no first step within {seconds:.0f} s"
            self._stacks(ranks)
            return self._failed(self._hang(what))
        return None

    def _failed_rank(self, ranks: LocalRanks, told: bool) -> Ending:
        self._stacks(ranks)
        codes = self._codes(ranks)
        rank = blamed(self._run_dir, codes)
        assert rank is not None
        code = codes[rank] or SpanwrightError.exit_code
        if told and code == -signal.SIGTERM:
            message = "stopped before the first step; the same command continues"
            return Ending(StoppedEarlyError.exit_code, message, self._last_step(), None)
        host = self._nodes[rank // self.attempt.ranks_per_node].host
        failure = rank_failure(self._run_dir, rank, code, host, self._last_step())
        return Ending(max(code, SpanwrightError.exit_code), failure.message, failure.step, failure)

    def _failed(self, failure: Failure) -> Ending:
        return Ending(SpanwrightError.exit_code, failure.message, failure.step, failure)

    def _hang(self, what: str) -> Failure:
        rank = hanging(self._run_dir, self._world_size, read_beats(self._beats))
        host = self._nodes[rank // self.attempt.ranks_per_node].host
        message = f"hang: {what}; the others wait for rank {rank} on {host}"
        return Failure("hang", message, self._last_step(), rank, host)

    def _stacks(self, ranks: LocalRanks) -> None:
        """Have every rank that is left write its stacks."""
        ranks.send(signal.SIGUSR2)
        self._publish("dump")
        deadline = time.monotonic() + _GRACE_SECONDS
        while time.monotonic() < deadline and None in self._codes(ranks).values():
            time.sleep(_POLL_SECONDS)

    def _codes(self, ranks: LocalRanks) -> dict[int, int | None]:
        """Exit codes so far of all ranks."""
        size = self.attempt.ranks_per_node
        codes: dict[int, int | None] = dict.fromkeys(range(self._world_size))
        codes |= dict(enumerate(ranks.codes()))
        for report in self._others():
            if report.attempt == self.attempt.number:
                first = self.attempt.nodes.index(report.name) * size
                codes |= {first + number: code for number, code in enumerate(report.codes)}
        return codes

    def _others(self) -> list[NodeReport]:
        return [report for report in self._board.reports() if report.name in self.attempt.nodes[1:]]

    def _gone(self) -> NodeReport | None:
        alive = {report.name for report in self._presence.alive(self._board.reports())}
        return next((node for node in self._nodes[1:] if node.name not in alive), None)

    def _still_for(self) -> float | None:
        """Seconds without a step when they are too many, else None."""
        beats = read_beats(self._beats)
        now, step = time.monotonic(), max((beat.step for beat in beats), default=0)
        if step > self._step:
            self._step, self._moved = step, now
            self._steps_seen += 1
        usual = max((beat.step_seconds for beat in beats), default=0.0)
        limit = self._limits.hang_seconds or max(_LEAST_HANG_SECONDS, _USUAL_STEPS * usual)
        if not self._steps_seen:
            limit = self._limits.start_seconds
        return now - self._moved if now - self._moved > limit else None

    def _last_step(self) -> int:
        return max((beat.step for beat in read_beats(self._beats)), default=0)

    @property
    def _world_size(self) -> int:
        return self.attempt.ranks_per_node * len(self.attempt.nodes)

    def _publish(self, state: str | None = None) -> None:
        if state is None and time.monotonic() < self._next_beat:
            return
        self.attempt = self.attempt._replace(state=state or self.attempt.state, beat=self.attempt.beat + 1)
        self._board.publish(self.attempt)
        self._next_beat = time.monotonic() + BEAT_SECONDS

    def _wait_for_others(self) -> None:
        """Until the other nodes have ended their ranks, or are gone."""
        deadline = time.monotonic() + self._limits.node_seconds
        while time.monotonic() < deadline:
            busy = {report.name for report in self._others() if not report.ended}
            if not busy & {report.name for report in self._presence.alive(self._board.reports())}:
                return
            time.sleep(_POLL_SECONDS)
