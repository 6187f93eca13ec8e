"""Which checkpoints stay, and how one leaves.

Invariant: the checkpoint just saved is never removed, and what is removed disappears under its name at once (renamed
first), so that a kill in between leaves no half of one.
"""

import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from pipeline.checkpoint.config import CheckpointConfig
from pipeline.checkpoint.format import saved_steps, step_folder

_LEAVING = ".removing-"
_SET_ASIDE = "damaged-"


def steps_to_remove(steps: Iterable[int], config: CheckpointConfig) -> list[int]:
    """The steps among `steps` that no rule keeps, oldest first."""
    ordered = sorted(steps)
    kept = set(ordered[-config.keep_last :])
    if config.keep_every is not None:
        kept.update(step for step in ordered if step % config.keep_every == 0)
    return [step for step in ordered if step not in kept]


def remove_old(root: Path, config: CheckpointConfig, newest: int) -> list[int]:
    """Remove the checkpoints that no rule keeps, now that `newest` is saved; returns their steps."""
    candidates = [step for step in saved_steps(root) if step <= newest]
    removed = steps_to_remove(candidates, config)
    assert newest not in removed, "retention would remove the checkpoint just saved"
    for step in removed:
        discard(step_folder(root, step))
    return removed


def discard(folder: Path) -> None:
    """Remove a checkpoint folder."""
    leaving = folder.with_name(f"{_LEAVING}{folder.name}")
    shutil.rmtree(leaving, ignore_errors=True)
    os.replace(folder, leaving)
    shutil.rmtree(leaving)


def set_aside(folder: Path) -> Path:
    """Rename a checkpoint that does not verify, so that it neither counts as one nor is lost; returns its new path."""
    aside = folder.with_name(f"{_SET_ASIDE}{folder.name}")
    number = 1
    while aside.exists():
        number += 1
        aside = folder.with_name(f"{_SET_ASIDE}{folder.name}-{number}")
    os.replace(folder, aside)
    return aside


def remove_leftovers(root: Path, prefixes: Iterable[str] = (_LEAVING,)) -> None:
    """Remove what a killed save or removal left behind."""
    if root.is_dir():
        for path in root.iterdir():
            if path.name.startswith(tuple(prefixes)) and path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
