"""Which checkpoints stay.

Invariant: nothing is removed before a newer checkpoint is published, and that one is never removed.
"""

from collections.abc import Iterable

from pipeline.checkpoint.config import CheckpointConfig
from pipeline.checkpoint.format import folder_name
from pipeline.checkpoint.load import saved_steps
from pipeline.checkpoint.store import Store


def steps_to_remove(steps: Iterable[int], config: CheckpointConfig) -> list[int]:
    """The steps among `steps` that no rule keeps, oldest first."""
    ordered = sorted(steps)
    kept = set(ordered[-config.keep_last :])
    if config.keep_every is not None:
        kept.update(step for step in ordered if step % config.keep_every == 0)
    return [step for step in ordered if step not in kept]


def remove_old(store: Store, config: CheckpointConfig, newest: int) -> list[int]:
    """Remove the checkpoints that no rule keeps, now that `newest` is saved; returns their steps."""
    candidates = [step for step in saved_steps(store) if step <= newest]
    removed = steps_to_remove(candidates, config)
    assert newest not in removed, "retention would remove the checkpoint just saved"
    for step in removed:
        store.remove(folder_name(step))
    return removed
