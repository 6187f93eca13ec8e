"""Continue a run on all ranks: agree on the newest valid checkpoint and put its state into the engine.

1. rank 0 verifies from the newest on; what does not verify is reported by name and set aside
2. all ranks learn the folder and the digest of its manifest, and check that they see the same one
3. `restore_state`: every rank sets its part of every parameter's state
4. `restore_rank_generators`, last: setting up the loader draws from them
"""

import json
from collections.abc import Callable
from pathlib import Path

import safetensors.torch

from data_prep.errors import CorruptionError, InputError, SpanwrightError
from pipeline.checkpoint.format import Record, plan_files, rng_file
from pipeline.checkpoint.load import newest_valid
from pipeline.checkpoint.retention import set_aside
from pipeline.checkpoint.rng import restore_generators
from pipeline.checkpoint.state import TrainingState
from pipeline.checkpoint.verify import manifest_digest, read_manifest, read_verified
from pipeline.training.collective import raise_together, share_json
from pipeline.training.rank import Rank


def agree_on_checkpoint(root: Path, rank: Rank, report: Callable[[str], None]) -> tuple[Path, Record] | None:
    """The newest valid checkpoint below `root`, the same on every rank; None when there is none. Collective.

    What does not verify is named through `report` (rank 0) and set aside as damaged-step-...
    """
    chosen: dict[str, str] | None = None
    error: Exception | None = None
    try:
        chosen = _choose(root, report) if rank.is_first else None
    except (OSError, SpanwrightError) as caught:
        error = caught
    raise_together(error)
    shared = share_json(chosen)
    if shared is None:
        return None
    folder = Path(shared["folder"])
    raise_together(_other_content(folder, shared["manifest"]))
    return folder, Record.model_validate_json(shared["record"])


def restore_state(folder: Path, record: Record, state: TrainingState) -> None:
    """Put the checkpoint's masters and moments into `state`'s engine. Collective."""
    saved = {name: tuple(shape) for name, shape in record.parameters.items()}
    _same_parameters(saved, state.shapes, folder)
    error: Exception | None = None
    try:
        _write_all(folder, saved, state)
    except SpanwrightError as caught:
        error = caught
    raise_together(error)
    state.finish_write(record.step)


def restore_rank_generators(folder: Path, rank: Rank) -> None:
    """Put this rank's generators back, where the checkpoint has them (a rank it was saved without keeps its own)."""
    name = rng_file(rank.index)
    entry = read_manifest(folder).files.get(name)
    if entry is not None:
        restore_generators(json.loads(read_verified(folder, name, entry)))


def _choose(root: Path, report: Callable[[str], None]) -> dict[str, str] | None:
    found = newest_valid(root)
    if found.folder is None and found.problems:
        raise CorruptionError(
            f"{root}: none of its {len(found.problems)} checkpoints is valid: {found.problems[0][1]}. "
            "Train from the start with --fresh, or in another folder with run.dir=..."
        )
    for folder, problem in found.problems:
        report(f"checkpoint skipped: {problem} (kept as {set_aside(folder).name})")
    if found.folder is None or found.record is None:
        return None
    return {
        "folder": str(found.folder),
        "manifest": manifest_digest(found.folder),
        "record": found.record.model_dump_json(),
    }


def _write_all(folder: Path, shapes: dict[str, tuple[int, ...]], state: TrainingState) -> None:
    files = read_manifest(folder).files
    for planned in plan_files(shapes):
        tensors = safetensors.torch.load(read_verified(folder, planned.file_name, files[planned.file_name]))
        for name in planned.names:
            state.write(name, planned.kind, tensors[name])


def _other_content(folder: Path, digest: str) -> Exception | None:
    try:
        if manifest_digest(folder) == digest:
            return None
        return CorruptionError(f"{folder}: this rank sees another checkpoint there than rank 0; share one run folder")
    except CorruptionError as error:
        return error


def _same_parameters(saved: dict[str, tuple[int, ...]], current: dict[str, tuple[int, ...]], folder: Path) -> None:
    for name in sorted({*saved, *current}):
        if saved.get(name) != current.get(name):
            raise InputError(
                f"{folder}: the parameter {name} has shape {saved.get(name)} in the checkpoint and {current.get(name)} "
                "in the model; train this model in another run folder"
            )
