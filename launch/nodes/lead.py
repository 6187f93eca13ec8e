"""The node that leads: it keeps a training alive, restarting it from the newest valid checkpoint within its limits.

1. wait for the nodes (with `elastic`, for as many as can train)
2. an attempt: publish it, run its ranks, watch them all (launch.nodes.watch)
3. done or asked to stop: tell all nodes, leave
4. failed: write the diagnosis; give up when the same step fails again or the restarts are used up; else wait, from 1
"""

import sys
import time
from collections.abc import Callable
from pathlib import Path

from data_prep.errors import InputError, SpanwrightError, StoppedEarlyError
from launch.clusters.config import AnyCluster
from launch.nodes.address import LOOPBACK_INTERFACE, address_of
from launch.nodes.attempts import read_attempts, record_end, record_start
from launch.nodes.board import Attempt, Board, NodeReport, Presence, introduce
from launch.nodes.diagnosis import Failure, write_diagnosis
from launch.nodes.stop import StopSignals
from launch.nodes.watch import Ending, Watch
from launch.ranks import LocalRanks, Place, listening_socket
from launch.stage_actions import existing_dataset
from launch.terminal import detail
from pipeline.config import RunConfig

_POLL_SECONDS = 0.2


def lead(config: RunConfig, cluster: AnyCluster, say: Callable[[str], None] = detail) -> int:
    """Train `config` to its end on the cluster's nodes; returns the exit code (0, 1, 2, 75), its message on stderr."""
    with StopSignals() as stop:
        leader = _Leader(config, cluster, stop, say)
        try:
            code, message = leader.run()
        except SpanwrightError as error:
            code, message = error.exit_code, str(error)
        leader.finish(code)
    if message:
        print(message, file=sys.stderr, flush=True)
    return code


class _Leader:
    def __init__(self, config: RunConfig, cluster: AnyCluster, stop: StopSignals, say: Callable[[str], None]) -> None:
        self._config, self._cluster, self._stop, self._say = config, cluster, stop, say
        self._run_dir = Path(config.run_dir)
        self._limits = cluster.supervise
        self._board = Board(config.train_dir)
        self._board.forget_stop()
        self._me = introduce(0)
        self._presence = Presence(self._limits.node_seconds)
        self._number = max((line["attempt"] for line in read_attempts(config.train_dir)), default=0)
        self._attempt: Attempt | None = None
        self._diagnosis: Path | None = None

    def run(self) -> tuple[int, str | None]:
        """Exit code and message."""
        failures: list[Failure] = []
        while True:
            nodes = self._gather(first=not failures)
            if nodes is None:
                return StoppedEarlyError.exit_code, "stopped before the next start; the same command continues"
            ending = self._run_attempt(nodes)
            failure = ending.failure
            if failure is None or ending.code in (0, InputError.exit_code, StoppedEarlyError.exit_code):
                return ending.code, ending.message
            failures.append(failure)
            if reason := self._give_up(failures):
                return SpanwrightError.exit_code, f"{failure.message}\n{reason}\n{self._shown_diagnosis()}"
            self._pause(failures)

    def finish(self, code: int) -> None:
        """Tell the followers that all is over."""
        ended = self._attempt or Attempt(self._number, "", (self._me.name,), self._cluster.ranks_on_node, "", 0)
        self._board.publish(ended._replace(state="finished", exit_code=code, beat=ended.beat + 1))

    def _gather(self, first: bool) -> list[NodeReport] | None:
        """The nodes of the next attempt, this one first; None when asked to stop. SpanwrightError: too few appeared."""
        wanted, elastic = self._cluster.nodes, self._limits.elastic
        patience = self._limits.start_seconds if first or not elastic else 2 * self._limits.node_seconds
        deadline = time.monotonic() + patience
        told = time.monotonic() + 5
        while True:
            if self._asked_to_stop():
                return None
            others = [node for node in self._presence.alive(self._board.reports()) if 0 < node.node < wanted]
            ready = [self._me, *(node for node in others if node.ended)]
            if len(ready) == wanted:
                return ready
            if time.monotonic() > deadline:
                return self._fewer(ready)
            if told and time.monotonic() > told:
                self._say(f"waiting for nodes: {len(ready)} of {wanted} are here")
                told = 0.0
            time.sleep(_POLL_SECONDS)

    def _fewer(self, ready: list[NodeReport]) -> list[NodeReport]:
        """As many of `ready` as can share the global batch."""
        size = self._cluster.ranks_on_node
        missing = sorted(set(range(self._cluster.nodes)) - {node.node for node in ready})
        if not self._limits.elastic:
            raise SpanwrightError(
                f"nodes {', '.join(map(str, missing))} of {self._cluster.nodes} did not appear; the same command "
                "continues (cluster.supervise.elastic=true goes on without them)"
            )
        for count in range(len(ready), 0, -1):
            try:
                self._config.check_ranks(count * size)
            except InputError:
                continue
            self._say(f"going on with {count} of {self._cluster.nodes} nodes")
            return ready[:count]
        raise SpanwrightError(
            f"{len(ready)} nodes of {size} ranks cannot share global_batch={self._config.batch_sizes}"
        )

    def _run_attempt(self, nodes: list[NodeReport]) -> Ending:
        self._number += 1
        size = self._cluster.ranks_on_node
        dataset = existing_dataset(self._config)
        record_start(
            self._config, self._number, [node.host for node in nodes], size * len(nodes),
            dataset["fingerprint"] if dataset else None,
        )  # fmt: skip
        alone = len(nodes) == 1
        address = address_of(self._cluster.interface, alone)
        # A host's own name may lead to its loopback here, and to its network address everywhere else.
        bound = address if alone or self._cluster.interface else ""
        with listening_socket(bound, size * len(nodes)) as listener:
            port = listener.getsockname()[1]
            interface = self._cluster.interface or (LOOPBACK_INTERFACE if alone else None)
            place = Place(0, size, size * len(nodes), address, port, interface, self._cluster.gpus_per_node)
            names = tuple(node.name for node in nodes)
            self._attempt = Attempt(self._number, "running", names, size, address, port)
            watch = Watch(self._config, self._limits, self._board, self._presence, self._attempt, nodes)
            ranks = LocalRanks(
                self._run_dir, place, self._config.training.threads_per_rank, listener, self._cluster.environment
            )
        ending = watch.until_the_end(ranks, self._asked_to_stop, lambda: self._stop.at_once)
        self._attempt = watch.attempt
        self._record(ending, [node.host for node in nodes])
        return ending

    def _record(self, ending: Ending, hosts: list[str]) -> None:
        failure = ending.failure
        outcomes = {0: "done", StoppedEarlyError.exit_code: "stopped"}
        outcome = "failed" if failure is not None else outcomes.get(ending.code, "failed")
        record_end(self._config, self._number, outcome, ending.step, failure.message if failure else None)
        if failure is not None:
            self._diagnosis = write_diagnosis(self._run_dir, self._number, failure, hosts, self._cluster.ranks_on_node)

    def _give_up(self, failures: list[Failure]) -> str | None:
        """Why another start would be useless; None when it would not."""
        newest = failures[-1]
        same = 1
        while same < len(failures) and newest.counts_against(failures[-same - 1]):
            same += 1
        if same > 1 and same >= self._limits.same_step_failures:
            return f"failed {same} times after step {newest.step}: another start would only fail again"
        if len(failures) > self._limits.restarts:
            return f"all {self._limits.restarts} restarts are used up (cluster.supervise.restarts)"
        return None

    def _pause(self, failures: list[Failure]) -> None:
        limits, failure = self._limits, failures[-1]
        seconds = min(limits.backoff_seconds * 2 ** (len(failures) - 1), limits.backoff_limit_seconds)
        self._say(f"failed after step {failure.step}: {failure.message.splitlines()[0]}")
        self._say(f"{self._shown_diagnosis()}; restart {len(failures)} of {limits.restarts} in {seconds:.0f} s")
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and not self._asked_to_stop():
            self._presence.alive(self._board.reports())
            time.sleep(_POLL_SECONDS)

    def _shown_diagnosis(self) -> str:
        return f"diagnosis: {self._diagnosis}"

    def _asked_to_stop(self) -> bool:
        return self._stop.asked or self._board.asked_to_stop()
