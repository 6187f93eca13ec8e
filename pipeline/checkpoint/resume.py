"""Continue a run on all ranks: agree on the newest valid checkpoint and put its state into the engine.

1. rank 0 verifies from the newest on; what does not verify is reported by name and set aside
2. all ranks learn the folder and the digest of its manifest, and check that they see the same one
3. `restore_state`: every rank sets its part of every parameter's state
4. `restore_rank_generators`, last: setting up the loader draws from them
"""

import json
from collections.abc import Callable, Mapping

from torch import Tensor

from data_prep.errors import CorruptionError, InputError, SpanwrightError
from pipeline.checkpoint.format import BUFFERS, Record, folder_name, plan_files, rng_file
from pipeline.checkpoint.load import newest_valid
from pipeline.checkpoint.rng import restore_generators
from pipeline.checkpoint.state import TrainingState
from pipeline.checkpoint.store import Folder, Store
from pipeline.checkpoint.tensors import read_tensors
from pipeline.checkpoint.verify import manifest_digest, read_manifest, read_verified
from pipeline.training.collective import raise_together, share_json
from pipeline.training.rank import Rank

Shapes = Mapping[str, tuple[int, ...]]


def agree_on_checkpoint(store: Store, rank: Rank, report: Callable[[str], None]) -> tuple[Folder, Record] | None:
    """The newest valid checkpoint in `store`, the same on every rank; None when there is none. Collective.

    What does not verify is named through `report` (rank 0) and set aside as damaged-step-...
    """
    chosen: dict[str, str] | None = None
    error: Exception | None = None
    try:
        chosen = _choose(store, report) if rank.is_first else None
    except (OSError, SpanwrightError) as caught:
        error = caught
    raise_together(error)
    shared = share_json(chosen)
    if shared is None:
        return None
    record = Record.model_validate_json(shared["record"])
    folder = Folder(store, folder_name(record.step))
    raise_together(_other_content(folder, shared["manifest"]))
    return folder, record


def restore_state(folder: Folder, record: Record, state: TrainingState) -> None:
    """Put the checkpoint's masters, moments and buffers into `state`'s engine. Collective."""
    saved, buffers = (_shapes(given) for given in (record.parameters, record.buffers))
    error: Exception | None = None
    kept: Mapping[str, Tensor] = {}
    try:
        _same_shapes(saved, state.shapes, folder, "parameter")
        _same_shapes(buffers, state.buffer_shapes, folder, "buffer")
        kept = _write_all(folder, record, buffers, state)
    except SpanwrightError as caught:
        error = caught
    raise_together(error)
    state.write_buffers(kept)
    state.finish_write(record.step - len(record.skipped_updates))


def restore_rank_generators(folder: Folder, rank: Rank) -> None:
    """Put this rank's generators back, where the checkpoint has them (a rank it was saved without keeps its own)."""
    name = rng_file(rank.index)
    entry = read_manifest(folder).files.get(name)
    if entry is None:
        return
    data = read_verified(folder, name, entry)
    try:
        restore_generators(json.loads(data))
    except (ValueError, TypeError, KeyError, AttributeError, IndexError, OverflowError, RuntimeError, RecursionError):
        raise CorruptionError(f"{folder.path(name)}: holds no generators' states") from None


def _choose(store: Store, report: Callable[[str], None]) -> dict[str, str] | None:
    found = newest_valid(store)
    if found.folder is None and found.problems:
        raise CorruptionError(
            f"{store.place}: none of its {len(found.problems)} checkpoints is valid: {found.problems[0][1]}. "
            "Train from the start with --fresh, or in another folder with run.dir=..."
        )
    for folder, problem in found.problems:
        report(f"checkpoint skipped: {problem} (kept as {store.set_aside(folder.name)})")
    if found.folder is None or found.record is None:
        return None
    return {"manifest": manifest_digest(found.folder), "record": found.record.model_dump_json()}


def _write_all(folder: Folder, record: Record, buffers: Shapes, state: TrainingState) -> Mapping[str, Tensor]:
    """Set this rank's part of all parameters' state; returns the buffers, which are set together."""
    files, shapes = read_manifest(folder).files, _shapes(record.parameters)
    for planned in plan_files(shapes, record.moments):
        wanted = {name: shapes[name] for name in planned.names}
        tensors = read_tensors(folder, planned.file_name, files[planned.file_name], wanted)
        for name in planned.names:
            state.write(name, planned.kind, tensors[name])
    return read_tensors(folder, BUFFERS, files[BUFFERS], buffers, dtype=None) if buffers else {}


def _other_content(folder: Folder, digest: str) -> Exception | None:
    try:
        if manifest_digest(folder) == digest:
            return None
        return CorruptionError(f"{folder}: this rank sees another checkpoint there than rank 0; share one run folder")
    except CorruptionError as error:
        return error


def _shapes(given: Mapping[str, list[int]]) -> Shapes:
    return {name: tuple(shape) for name, shape in given.items()}


def _same_shapes(saved: Shapes, current: Shapes, folder: Folder, what: str) -> None:
    for name in sorted({*saved, *current}):
        if saved.get(name) != current.get(name):
            raise InputError(
                f"{folder}: the {what} {name} has shape {saved.get(name)} in the checkpoint and {current.get(name)} "
                "in the model; train this model in another run folder"
            )
