"""Save the training state: all of it or nothing.

Invariant: a save that fails on any rank fails on every rank with one message and leaves the earlier checkpoints as they
were. Which rank writes a file does not show in it.

1. `owned_files`: every parameter is gathered; each file has one owner (file number modulo ranks), rank 0 the buffers
2. `write_checkpoint`: rank 0 begins; owners write their files, every rank its generators; rank 0 writes the record and
   publishes with the manifest of all files; then rank 0 removes old checkpoints

All is collective over one process group; see pipeline.checkpoint.saver for who calls it when.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from torch import Tensor

from data_prep.errors import SpanwrightError
from pipeline.checkpoint.config import CheckpointConfig
from pipeline.checkpoint.format import (
    BUFFERS,
    FORMAT_VERSION,
    RECORD,
    FileEntry,
    Manifest,
    Record,
    encode_manifest,
    folder_name,
    plan_files,
    rng_file,
)
from pipeline.checkpoint.retention import remove_old
from pipeline.checkpoint.state import TrainingState
from pipeline.checkpoint.store import Folder, Store
from pipeline.checkpoint.tensors import file_parts
from pipeline.training.collective import Group, gather_json, raise_together
from pipeline.training.rank import Rank

_NOT_REMOVED = "is saved, but an older one could not be removed"

Files = dict[str, FileEntry]
OwnedFile = tuple[str, Mapping[str, Tensor]]


def owned_files(state: TrainingState, rank: Rank) -> Iterator[OwnedFile]:
    """The tensor files that this rank writes, one at a time. Every rank helps to gather all of them: collective."""
    for number, planned in enumerate(plan_files(state.shapes, state.moments)):
        mine = number % rank.world_size == rank.index
        tensors = {}
        for name in planned.names:
            value = state.read(name, planned.kind)
            if mine:
                tensors[name] = value
        if mine:
            yield planned.file_name, tensors
    buffers = state.read_buffers()
    if rank.is_first and buffers:
        yield BUFFERS, buffers


def write_checkpoint(
    store: Store,
    record: Record,
    owned: Iterable[OwnedFile],
    generators: Mapping[str, Any],
    rank: Rank,
    keep: CheckpointConfig,
    group: Group = None,
) -> Folder:
    """Write and publish the checkpoint of `record`; returns it. Collective over `group`.

    Raises SpanwrightError on every rank when any rank cannot write. `owned` is read to its end in any case.
    """
    save = _Save(store, record, rank, group)
    save.together(lambda: store.begin(save.name) if rank.is_first else None)
    try:
        files: Files = {}
        save.together(lambda: files.update(save.write_owned(owned)))
        save.together(lambda: files.update(save.write_generators(generators)))
        everything = save.gathered(files)
        save.together(lambda: save.publish(everything) if rank.is_first else None)
    except SpanwrightError:
        if rank.is_first:
            store.abandon(save.name)
        raise
    save.together(lambda: remove_old(store, keep, record.step) if rank.is_first else None, _NOT_REMOVED)
    return Folder(store, save.name)


class _Save:
    """What the steps of one save share."""

    def __init__(self, store: Store, record: Record, rank: Rank, group: Group) -> None:
        self._store, self._record, self._rank, self._group = store, record, rank, group
        self.name = folder_name(record.step)

    def together(self, action: Callable[[], object], failure: str = "could not be saved") -> None:
        """Do this rank's part; when any rank fails, in whatever way, all raise."""
        error: BaseException | None = None
        try:
            action()
        except BaseException as caught:  # also a writer thread's own end: nobody may wait for it for ever
            what = str(caught) or type(caught).__name__
            error = SpanwrightError(f"the checkpoint {self.name} {failure}: {what}")
        raise_together(error, self._group)

    def write_owned(self, owned: Iterable[OwnedFile]) -> Files:
        files: Files = {}
        error: BaseException | None = None
        for file_name, tensors in owned:
            try:
                if error is None:
                    files[file_name] = self._store.write(self.name, file_name, file_parts(tensors))
            except BaseException as caught:
                error = caught  # go on gathering: the other ranks count on it
            del tensors  # before those of the next file are gathered
        if error is not None:
            raise error
        return files

    def write_generators(self, generators: Mapping[str, Any]) -> Files:
        name = rng_file(self._rank.index)
        return {name: self._store.write(self.name, name, [json.dumps(generators).encode()])}

    def gathered(self, files: Files) -> Files:
        parts = gather_json({name: entry.model_dump() for name, entry in files.items()}, self._group)
        return {name: FileEntry(**entry) for part in parts for name, entry in part.items()}

    def publish(self, files: Files) -> None:
        record = self._record.model_dump_json(indent=1).encode()
        files = files | {RECORD: self._store.write(self.name, RECORD, [record])}
        manifest = Manifest(format_version=FORMAT_VERSION, step=self._record.step, files=dict(sorted(files.items())))
        self._store.publish(self.name, encode_manifest(manifest))
