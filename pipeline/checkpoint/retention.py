"""Which checkpoints stay.

Invariant: nothing is removed before a newer checkpoint is published, and that one is never removed.

1. of the run's own line     the newest `keep_last`, and multiples of `keep_every`
2. of those that it left     the latest, and multiples of `keep_every`
3. of damaged ones           the latest, to find out what happened
"""

from collections.abc import Iterable, Sequence

from pipeline.checkpoint.config import CheckpointConfig
from pipeline.checkpoint.format import folder_name, step_of
from pipeline.checkpoint.store import DAMAGED, LEFT, Store, set_aside_folders


def steps_to_remove(steps: Iterable[int], config: CheckpointConfig) -> list[int]:
    """The steps among `steps` that no rule keeps, oldest first."""
    ordered = sorted(steps)
    kept = set(ordered[-config.keep_last :])
    if config.keep_every is not None:
        kept.update(step for step in ordered if step % config.keep_every == 0)
    return [step for step in ordered if step not in kept]


def set_aside_to_remove(names: Sequence[str], config: CheckpointConfig) -> list[str]:
    """The folders set aside among `names` that no rule keeps, oldest first."""
    removed = []
    for prefix in (DAMAGED, LEFT):
        found = set_aside_folders(names, [prefix])
        for name, step in [*found.items()][:-1]:
            if prefix == DAMAGED or config.keep_every is None or step % config.keep_every:
                removed.append(name)
    return removed


def remove_old(store: Store, config: CheckpointConfig, newest: int) -> list[str]:
    """Remove the checkpoints that no rule keeps, now that `newest` is saved; returns their names."""
    names = store.folders()
    steps = [step for name in names if (step := step_of(name)) is not None and step <= newest]
    removed = [folder_name(step) for step in steps_to_remove(steps, config)] + set_aside_to_remove(names, config)
    assert folder_name(newest) not in removed, "retention would remove the checkpoint just saved"
    for name in removed:
        store.remove(name)
    return removed
