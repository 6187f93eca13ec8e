"""The board: small files in RUN/train/nodes through which the nodes of a training find and watch each other.

    node-N.json     each node about itself, anew every second
    attempt.json    the leader about the attempt: who takes part, where the ranks meet, whether it goes on
    stop            somebody wants the training to save and stop

Invariant: nothing an earlier start left there is believed. A node has a new random name at each start; an attempt
counts for the nodes it names, a report for its name, and a node lives as long as its report keeps changing.
"""

import json
import os
import secrets
import socket
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

BEAT_SECONDS = 1.0


class NodeReport(NamedTuple):
    """What a node says about itself."""

    node: int
    name: str
    host: str
    beat: int = 0
    attempt: int = 0
    """The attempt that `codes` are of."""
    codes: tuple[int | None, ...] = ()
    """Exit codes of its ranks so far."""
    ended: bool = True
    """None of its ranks is left."""


class Attempt(NamedTuple):
    """What the leader says about an attempt."""

    number: int
    state: str
    """running; dump (write your stacks); over (end your ranks, another attempt may follow); finished (leave)."""
    nodes: tuple[str, ...]
    """Names of those who take part, in the order of their ranks."""
    ranks_per_node: int
    address: str
    port: int
    beat: int = 0
    exit_code: int | None = None
    """Of the whole, once finished."""


class Board:
    """The files of one run."""

    def __init__(self, train_dir: Path) -> None:
        self.folder = train_dir / "nodes"
        self.folder.mkdir(parents=True, exist_ok=True)
        self._stop = self.folder / "stop"

    def tell(self, report: NodeReport) -> None:
        """Put up a node's report."""
        self._write(f"node-{report.node}", report._asdict())

    def reports(self) -> list[NodeReport]:
        """Every node's report, in order; old ones too."""
        found = (self._read(path) for path in self.folder.glob("node-*.json"))
        return sorted(NodeReport(**{**one, "codes": tuple(one["codes"])}) for one in found if one is not None)

    def publish(self, attempt: Attempt) -> None:
        """Put up what the leader says."""
        self._write("attempt", attempt._asdict())

    def attempt(self) -> Attempt | None:
        """What the leader said last."""
        found = self._read(self.folder / "attempt.json")
        return Attempt(**{**found, "nodes": tuple(found["nodes"])}) if found is not None else None

    def ask_to_stop(self) -> None:
        """Have the leader save and stop."""
        self._stop.touch()

    def asked_to_stop(self) -> bool:
        """Whether somebody did."""
        return self._stop.exists()

    def forget_stop(self) -> None:
        """A new start: what was asked before is done."""
        self._stop.unlink(missing_ok=True)

    def _write(self, name: str, content: dict[str, object]) -> None:
        temporary = self.folder / f".{name}.{os.getpid()}.tmp"
        temporary.write_text(json.dumps(content), encoding="utf-8")
        os.replace(temporary, self.folder / f"{name}.json")

    @staticmethod
    def _read(path: Path) -> dict[str, Any] | None:
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None


def introduce(node: int) -> NodeReport:
    """This process as node `node`, under a new name."""
    return NodeReport(node, secrets.token_hex(8), socket.gethostname())


class Presence:
    """Who is alive, judged by our own clock from reports that keep changing."""

    def __init__(self, limit_seconds: float) -> None:
        self._limit = limit_seconds
        self._seen: dict[str, tuple[int, float | None]] = {}

    def alive(self, reports: Iterable[NodeReport]) -> list[NodeReport]:
        """Those of `reports` that changed within the limit."""
        now = time.monotonic()
        living = []
        for report in reports:
            beat, changed = self._seen.get(report.name, (report.beat, None))
            if report.beat != beat:
                changed = now
            self._seen[report.name] = (report.beat, changed)
            if changed is not None and now - changed <= self._limit:
                living.append(report)
        return living
