"""The fp32 weights of a checkpoint, for export and evaluation. Needs no DeepSpeed, no ranks and no GPU."""

from collections.abc import Iterator
from pathlib import Path

from torch import Tensor

from data_prep.errors import InputError
from pipeline.checkpoint.format import plan_files
from pipeline.checkpoint.load import Place, newest_valid
from pipeline.checkpoint.places import open_folder, open_store
from pipeline.checkpoint.store import Folder
from pipeline.checkpoint.tensors import read_tensors
from pipeline.checkpoint.verify import read_manifest, verify_checkpoint


def newest_checkpoint(place: Place) -> Folder:
    """The newest checkpoint at `place` (RunConfig.checkpoints) that verifies; InputError when there is none."""
    found = newest_valid(place).folder
    if found is None:
        raise InputError(
            f"{open_store(place).place}: no valid checkpoint; train first, or look at the run with "
            "`spanwright checkpoints`"
        )
    return found


def load_weights(place: Folder | Path | str) -> dict[str, Tensor]:
    """The fp32 weights of the checkpoint at `place` by parameter name; CorruptionError when it does not verify."""
    return dict(iterate_weights(place))


def iterate_weights(place: Folder | Path | str) -> Iterator[tuple[str, Tensor]]:
    """The same, holding one file of the checkpoint in memory at a time."""
    folder = open_folder(place)
    record = verify_checkpoint(folder)
    files = read_manifest(folder).files
    shapes = {name: tuple(shape) for name, shape in record.parameters.items()}
    for planned in plan_files(shapes):
        if planned.kind == "master":
            wanted = {name: shapes[name] for name in planned.names}
            yield from read_tensors(folder, planned.file_name, files[planned.file_name], wanted).items()
