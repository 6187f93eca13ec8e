"""A node that follows: it runs its ranks in the attempts that name it, and says what became of them.

1. report, every second
2. an attempt names this node: start its ranks
3. the attempt is over, its leader is silent, or all ranks have ended: end them, report, wait for the next
4. the leader has finished: leave with its exit code
"""

import signal
import time
from pathlib import Path

from data_prep.errors import SpanwrightError, StoppedEarlyError
from launch.clusters.config import AnyCluster
from launch.nodes.board import BEAT_SECONDS, Attempt, Board, introduce
from launch.nodes.stop import StopSignals
from launch.ranks import LocalRanks, Place
from pipeline.config import RunConfig

_POLL_SECONDS = 0.2


def follow(config: RunConfig, cluster: AnyCluster, index: int) -> int:
    """Be node `index` of the run's training until its leader has finished; returns the exit code of the whole."""
    with StopSignals() as stop:
        return _Follower(config, cluster, index, stop).run()


class _Follower:
    def __init__(self, config: RunConfig, cluster: AnyCluster, index: int, stop: StopSignals) -> None:
        self._run_dir = Path(config.run_dir)
        self._config, self._cluster, self._stop = config, cluster, stop
        self._board = Board(config.train_dir)
        self._me = introduce(index)
        self._before = self._board.attempt()  # of an earlier start: says nothing to us
        self._next_beat = 0.0
        self._leader = (-1, time.monotonic())

    def run(self) -> int:
        done = 0
        while True:
            self._report()
            attempt = self._current()
            if attempt is not None and attempt.state == "finished":
                return attempt.exit_code or 0
            if attempt is not None and attempt.state == "running" and attempt.number > done and self._named(attempt):
                done = attempt.number
                if not self._take_part(attempt):
                    print(f"node {self._me.node}: its leader is gone", flush=True)
                    return SpanwrightError.exit_code
            if self._stop.asked:
                return StoppedEarlyError.exit_code
            time.sleep(_POLL_SECONDS)

    def _take_part(self, attempt: Attempt) -> bool:
        """One attempt on this node; False when the leader fell silent."""
        own, size = attempt.nodes.index(self._me.name), attempt.ranks_per_node
        place = Place(
            own * size, size, size * len(attempt.nodes), attempt.address, attempt.port, self._cluster.interface,
            self._cluster.gpus_per_node,
        )  # fmt: skip
        ranks = LocalRanks(
            self._run_dir, place, self._config.training.threads_per_rank, environment=self._cluster.environment
        )
        try:
            return self._until_over(attempt, ranks)
        finally:
            self._report(attempt.number, ranks.end(), ended=True)

    def _until_over(self, attempt: Attempt, ranks: LocalRanks) -> bool:
        told = dumped = False
        while True:
            codes = ranks.codes()
            self._report(attempt.number, codes, ended=None not in codes)
            current = self._current()
            if current is None or current.number != attempt.number or current.state in ("over", "finished"):
                return True
            if current.state == "dump" and not dumped:
                ranks.send(signal.SIGUSR2)
                dumped = True
            if self._stop.asked and not told:
                ranks.send(signal.SIGTERM)
                told = True
            if self._leader_is_silent(current):
                return False
            time.sleep(_POLL_SECONDS)

    def _leader_is_silent(self, attempt: Attempt) -> bool:
        beat, since = self._leader
        if attempt.beat != beat:
            self._leader = (attempt.beat, time.monotonic())
            return False
        return time.monotonic() - since > self._cluster.supervise.node_seconds

    def _current(self) -> Attempt | None:
        attempt = self._board.attempt()
        return None if attempt == self._before else attempt

    def _named(self, attempt: Attempt) -> bool:
        self._leader = (-1, time.monotonic())
        return self._me.name in attempt.nodes

    def _report(self, attempt: int = 0, codes: list[int | None] | list[int] | None = None, ended: bool = True) -> None:
        changed = self._me._replace(attempt=attempt, codes=tuple(codes or ()), ended=ended)
        if time.monotonic() < self._next_beat and changed == self._me:
            return
        self._me = changed._replace(beat=self._me.beat + 1)
        self._board.tell(self._me)
        self._next_beat = time.monotonic() + BEAT_SECONDS
