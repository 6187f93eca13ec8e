"""What a person should know of a run that still works: a slow rank, a disk that fills up, waiting for data.

`warnings_of` is pure; `run_warnings` reads what it needs of a run's folder.
"""

import shutil
import statistics
from collections.abc import Sequence
from pathlib import Path

from pipeline.training.heartbeat import Beat, read_beats

SLOW = 1.5  # times the median rank
STARVING = 0.2  # of a step
_CHECKPOINTS_OF_ROOM = 2


def run_warnings(train_dir: Path, checkpoints: str) -> dict[str, str]:
    """What is wrong now with the run in `train_dir` whose checkpoints lie in `checkpoints`: one line by subject."""
    free = shutil.disk_usage(train_dir).free
    size = 0 if "://" in checkpoints else _checkpoint_bytes(Path(checkpoints))
    return warnings_of(read_beats(train_dir / "beats"), free, size)


def warnings_of(beats: Sequence[Beat], free_bytes: int, checkpoint_bytes: int) -> dict[str, str]:
    """What is wrong, one line by subject. `checkpoint_bytes`: size of one checkpoint, 0 if unknown."""
    found = {"slow rank": _slow_rank(beats), "data": _starving(beats), "disk": _full(free_bytes, checkpoint_bytes)}
    return {subject: line for subject, line in found.items() if line is not None}


def _slow_rank(beats: Sequence[Beat]) -> str | None:
    if len(beats) < 3:  # of two, neither is the unusual one
        return None
    usual = statistics.median(beat.own_seconds for beat in beats)
    slowest = max(beats, key=lambda beat: beat.own_seconds)
    if slowest.own_seconds <= SLOW * usual:
        return None
    return (
        f"rank {slowest.rank} on {slowest.host} is slow: {slowest.own_seconds:.3g} s of its own a step, where the "
        f"median rank needs {usual:.3g} s"
    )


def _starving(beats: Sequence[Beat]) -> str | None:
    worst = max(beats, key=lambda beat: beat.data_wait, default=None)
    if worst is None or worst.data_wait <= STARVING:
        return None
    return (
        f"waiting for data: {worst.data_wait:.0%} of a step on rank {worst.rank} ({worst.host}); give more "
        "training.loader_workers, or a faster disk to data.dir"
    )


def _full(free_bytes: int, checkpoint_bytes: int) -> str | None:
    if free_bytes >= _CHECKPOINTS_OF_ROOM * checkpoint_bytes:
        return None
    return (
        f"the disk is nearly full: {free_bytes / 1e9:.1f} GB free, and a checkpoint takes {checkpoint_bytes / 1e9:.1f} "
        "GB; free some space, or lower checkpoint.keep_last"
    )


def _checkpoint_bytes(root: Path) -> int:
    """Size of the newest checkpoint below `root`; 0 where there is none, or it was just removed."""
    newest = max(root.glob("step-*"), default=None)
    try:
        return sum(path.stat().st_size for path in newest.iterdir()) if newest is not None else 0
    except FileNotFoundError:
        return 0
