"""The fp32 weights of a checkpoint, for export and evaluation. Needs no DeepSpeed, no ranks and no GPU."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor

from data_prep.errors import InputError
from pipeline.checkpoint.format import PlannedFile, plan_files
from pipeline.checkpoint.load import Place, newest_valid
from pipeline.checkpoint.places import open_folder, open_store
from pipeline.checkpoint.store import Folder
from pipeline.checkpoint.tensors import read_tensors
from pipeline.checkpoint.verify import read_manifest, verify_checkpoint


def newest_checkpoint(place: Place) -> Folder:
    """The newest checkpoint at `place` (RunConfig.checkpoints) that verifies; InputError when there is none."""
    return newest_and_skipped(place)[0]


def newest_and_skipped(place: Place) -> tuple[Folder, list[str]]:
    """The newest checkpoint at `place` that verifies, and a line on each newer one that does not."""
    found = newest_valid(place)
    if found.folder is None:
        damaged = f": {found.problems[0][1]}" if found.problems else ""
        raise InputError(
            f"{open_store(place).place}: no valid checkpoint{damaged}; train first, or look at the run with "
            "`spanwright checkpoints`"
        )
    return found.folder, [f"{found.folder.name} is taken: {problem}" for _, problem in found.problems]


class CheckpointWeights(Mapping[str, Tensor]):
    """The fp32 weights of the checkpoint at `place` by parameter name, read when asked for.

    Invariant: no more than one file of the checkpoint (256 MiB, or one tensor) is held in memory; reading in the order
    of the names reads each file once. CorruptionError when it does not verify.
    """

    def __init__(self, place: Folder | Path | str) -> None:
        self._folder = open_folder(place)
        self.record = verify_checkpoint(self._folder)
        self._entries = read_manifest(self._folder).files
        self.shapes = {name: tuple(shape) for name, shape in self.record.parameters.items()}
        masters = [planned for planned in plan_files(self.shapes) if planned.kind == "master"]
        self._file_of = {name: planned for planned in masters for name in planned.names}
        self._held: tuple[PlannedFile | None, dict[str, Tensor]] = None, {}

    def __getitem__(self, name: str) -> Tensor:
        """The weight `name`."""
        planned = self._file_of[name]
        if self._held[0] is not planned:
            self._held = None, {}  # let go of one file before the next is read
            wanted = {each: self.shapes[each] for each in planned.names}
            entry = self._entries[planned.file_name]
            self._held = planned, read_tensors(self._folder, planned.file_name, entry, wanted)
        return self._held[1][name]

    def __iter__(self) -> Iterator[str]:
        """The names in order."""
        return iter(sorted(self.shapes))

    def __len__(self) -> int:
        """The number of parameters."""
        return len(self.shapes)


def hash_weights(weights: Iterable[tuple[str, Tensor]]) -> str:
    """SHA-256 over the names and bytes of fp32 weights in the order of their names: equal for equal weights."""
    digest = hashlib.sha256()
    for name, value in weights:
        digest.update(name.encode())
        digest.update(value.contiguous().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def load_weights(place: Folder | Path | str) -> dict[str, Tensor]:
    """All of `CheckpointWeights` in memory."""
    return dict(CheckpointWeights(place))
