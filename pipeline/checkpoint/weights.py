"""The fp32 weights of a checkpoint, for export and evaluation. Needs no DeepSpeed, no ranks and no GPU."""

from collections.abc import Iterator
from pathlib import Path

import safetensors.torch
from torch import Tensor

from data_prep.errors import InputError
from pipeline.checkpoint.format import plan_files
from pipeline.checkpoint.load import newest_valid
from pipeline.checkpoint.verify import read_manifest, read_verified, verify_checkpoint


def newest_checkpoint(root: Path) -> Path:
    """The newest checkpoint below `root` (RUN/train/checkpoints) that verifies; InputError when there is none."""
    found = newest_valid(root).folder
    if found is None:
        raise InputError(f"{root}: no valid checkpoint; train first, or look at the run with `spanwright checkpoints`")
    return found


def load_weights(folder: Path) -> dict[str, Tensor]:
    """The fp32 weights of the checkpoint in `folder` by parameter name; CorruptionError when it does not verify."""
    return dict(iterate_weights(folder))


def iterate_weights(folder: Path) -> Iterator[tuple[str, Tensor]]:
    """The same, holding one file of the checkpoint in memory at a time."""
    record = verify_checkpoint(folder)
    files = read_manifest(folder).files
    for planned in plan_files({name: tuple(shape) for name, shape in record.parameters.items()}):
        if planned.kind == "master":
            data = read_verified(folder, planned.file_name, files[planned.file_name])
            yield from safetensors.torch.load(data).items()
