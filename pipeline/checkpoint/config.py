"""What a `checkpoint:` section may say. No torch here: configs load fast."""

from typing import Annotated

from pydantic import Field

from data_prep.section import Section

PositiveInt = Annotated[int, Field(gt=0)]


class CheckpointConfig(Section):
    """When training state is saved, and which saves are kept."""

    save_every: PositiveInt = 500
    """Steps between saves; the last step and a requested stop are saved in any case."""
    keep_last: PositiveInt = 2
    """How many of the newest checkpoints stay."""
    keep_every: PositiveInt | None = None
    """Checkpoints whose step is a multiple of this stay for good."""
    background: bool = True
    """Training waits only until the state is copied to memory (12 bytes per parameter, shared out among the ranks);
    writing goes on beside it. False: training waits until the checkpoint is on the disk."""
    dir: str | None = None
    """Where checkpoints lie: a path, or a URL as s3://bucket/prefix (default: train/checkpoints in the run folder)."""
