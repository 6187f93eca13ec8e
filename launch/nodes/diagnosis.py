"""What went wrong in an attempt: which rank, on which host, after which step, with which last words and stacks."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from data_prep.errors import InputError
from launch.ranks import error_of, explain, log_of
from pipeline.training.heartbeat import Beat

_STACK_BYTES = 20_000
_COLLECTIVES = "distributed_c10d.py"
_NO_STACK = "no stack: it had ended, was stopped, or could not be reached"


class Failure(NamedTuple):
    """Why an attempt failed."""

    kind: str
    """rank (it ended by itself or was killed), hang, or node (a machine is gone)."""
    message: str
    step: int
    """The last step that any rank did in the attempt; 0: none."""
    rank: int | None = None
    host: str | None = None
    code: int | None = None

    def counts_against(self, other: "Failure | None") -> bool:
        """Whether `other`, the failure before, was the same: a rank that fails by itself at the same step."""
        return other is not None and self.kind == other.kind == "rank" and self.step == other.step


def blamed(run_dir: Path, codes: Mapping[int, int | None]) -> int | None:
    """The rank that failed first, as far as its end shows: the others fail because they lost it.

    One that was killed; else one that left a message; else the lowest.
    """
    failed = [rank for rank, code in sorted(codes.items()) if code not in (None, 0, 75)]
    wrong = [rank for rank in failed if codes[rank] == InputError.exit_code]
    killed = [rank for rank in failed if (codes[rank] or 0) < 0]
    speaking = [rank for rank in failed if error_of(run_dir, rank) is not None]
    return next(iter([*wrong, *killed, *speaking, *failed]), None)


def hanging(run_dir: Path, world_size: int, beats: Sequence[Beat]) -> int:
    """The rank that the others wait for, as far as stacks show (they have just been asked for).

    One that did no step where others did; else one that could not even write its stack (stopped, or its machine is
    gone); else one that does not wait in a collective; else the one heard last the longest ago.
    """
    steps = {beat.rank: beat.step for beat in beats}
    most = max(steps.values(), default=0)
    stacks = {rank: _stacks(run_dir, rank) for rank in range(world_size)}
    behind = [rank for rank in range(world_size) if steps.get(rank, 0) == 0 < most]
    silent = [rank for rank, stack in stacks.items() if not stack]
    busy = [rank for rank, stack in stacks.items() if _COLLECTIVES not in stack]
    oldest = [beat.rank for beat in sorted(beats, key=lambda beat: beat.time)]
    return next(iter([*behind, *silent, *busy, *oldest, 0]))


def rank_failure(run_dir: Path, rank: int, code: int, host: str, step: int) -> Failure:
    """A rank that ended with `code`."""
    message = explain(run_dir, rank, code)
    return Failure("rank", message, step, rank, host, code)


def write_diagnosis(run_dir: Path, attempt: int, failure: Failure, hosts: Sequence[str], ranks_per_node: int) -> Path:
    """Everything known about `failure` in one file below RUN/train/diagnoses; returns its path."""
    path = run_dir / "train" / "diagnoses" / f"attempt-{attempt:03d}.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    head = [
        f"attempt {attempt}: {failure.kind}" + (f", rank {failure.rank}" if failure.rank is not None else ""),
        f"host: {failure.host or 'unknown'}",
        f"last step: {failure.step}",
        failure.message,
    ]
    stacks = [
        f"\n--- rank {rank} on {host} (log: {log_of(run_dir, rank)})\n{_stacks(run_dir, rank) or _NO_STACK}"
        for number, host in enumerate(hosts)
        for rank in range(number * ranks_per_node, (number + 1) * ranks_per_node)
    ]
    path.write_text("\n".join([*head, *stacks]) + "\n", encoding="utf-8")
    return path


def _stacks(run_dir: Path, rank: int) -> str:
    path = log_of(run_dir, rank, "stacks")
    text = path.read_text(encoding="utf-8", errors="replace")[-_STACK_BYTES:] if path.is_file() else ""
    return text.rstrip()
