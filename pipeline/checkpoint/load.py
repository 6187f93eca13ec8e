"""Find the newest checkpoint that verifies. Nothing is changed where it lies."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from data_prep.errors import CorruptionError
from pipeline.checkpoint.format import RECORD, Record, decode_record, folder_name, step_of
from pipeline.checkpoint.places import open_store
from pipeline.checkpoint.store import Folder, Store
from pipeline.checkpoint.verify import MAX_JSON_BYTES, verify_checkpoint

Place = Store | Path | str


@dataclass(frozen=True)
class Found:
    """The newest valid checkpoint (None: there is none), and what was wrong with the newer ones."""

    folder: Folder | None
    record: Record | None
    problems: Sequence[tuple[Folder, str]]


def saved_steps(place: Place) -> list[int]:
    """Steps that have a checkpoint (valid or not), newest first."""
    found = (step_of(name) for name in open_store(place).folders())
    return sorted((step for step in found if step is not None), reverse=True)


def step_folder(place: Place, step: int) -> Folder:
    """The checkpoint after `step` updates."""
    return Folder(open_store(place), folder_name(step))


def newest_valid(place: Place) -> Found:
    """Verify the checkpoints from the newest on until one is valid."""
    problems: list[tuple[Folder, str]] = []
    for step in saved_steps(place):
        folder = step_folder(place, step)
        try:
            return Found(folder, verify_checkpoint(folder), problems)
        except CorruptionError as error:
            problems.append((folder, str(error)))
    return Found(None, None, problems)


def newest_record(place: Place, last: int | None = None) -> Record | None:
    """What the newest readable checkpoint (up to step `last`) says of itself, digests unchecked: to refuse early."""
    for step in saved_steps(place):
        if last is not None and step > last:
            continue
        folder = step_folder(place, step)
        try:
            return decode_record(folder.read(RECORD, MAX_JSON_BYTES), folder.path(RECORD))
        except (OSError, CorruptionError):
            continue
    return None
