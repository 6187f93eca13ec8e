"""Find the newest checkpoint that verifies. Nothing is changed on disk."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from data_prep.errors import CorruptionError
from pipeline.checkpoint.format import RECORD, Record, decode_record, saved_steps, step_folder
from pipeline.checkpoint.verify import verify_checkpoint


@dataclass(frozen=True)
class Found:
    """The newest valid checkpoint (None: there is none), and what was wrong with the newer ones."""

    folder: Path | None
    record: Record | None
    problems: Sequence[tuple[Path, str]]


def newest_valid(root: Path) -> Found:
    """Verify the checkpoints below `root` from the newest on until one is valid."""
    problems: list[tuple[Path, str]] = []
    for step in saved_steps(root):
        folder = step_folder(root, step)
        try:
            return Found(folder, verify_checkpoint(folder), problems)
        except CorruptionError as error:
            problems.append((folder, str(error)))
    return Found(None, None, problems)


def newest_record(root: Path) -> Record | None:
    """What the newest readable checkpoint below `root` says of itself, digests unchecked: to refuse a config early."""
    for step in saved_steps(root):
        path = step_folder(root, step) / RECORD
        try:
            return decode_record(path.read_bytes(), path)
        except (OSError, CorruptionError):
            continue
    return None
