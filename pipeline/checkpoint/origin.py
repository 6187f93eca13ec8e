"""Where a run starts from, when not from its own newest checkpoint: an older one of its own, or another run's.

Both are changes of the store before training begins, so that training itself always continues from the newest.
"""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data_prep.errors import InputError
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
)
from pipeline.checkpoint.load import Place, newest_valid, saved_steps, step_folder
from pipeline.checkpoint.places import open_store
from pipeline.checkpoint.store import LEFT, Folder, Store
from pipeline.checkpoint.verify import read_manifest, verify_checkpoint

if TYPE_CHECKING:
    from torch import Tensor


def go_back(place: Place, step: int) -> list[str]:
    """Make the checkpoint of `step` the newest: later ones are set aside under the names returned, newest first."""
    store = open_store(place)
    steps = saved_steps(store)
    if step not in steps:
        there = ", ".join(map(str, sorted(steps))) or "none"
        raise InputError(f"--from {step}: there is no checkpoint of this step in {store.place}; there are: {there}")
    verify_checkpoint(step_folder(store, step))
    return [store.set_aside(folder_name(later), LEFT) for later in steps if later > step]


def checkpoint_of_run(run_dir: Path, place: str) -> Folder:
    """The newest valid checkpoint of another run; InputError naming its folder when it has none."""
    found = newest_valid(place).folder
    if found is None:
        raise InputError(f"--from {run_dir}: this run has no valid checkpoint ({place})")
    return found


def take_everything(place: Place, source: Folder) -> None:
    """Let a new run continue from another's checkpoint: weights, optimizer, position, generators."""
    store, record = _empty(place, source), verify_checkpoint(source)
    names = sorted({*read_manifest(source).files} - {RECORD})
    _put(store, source, names, record.model_copy(update={"origin": str(source)}))


def take_weights(place: Place, source: Folder, config: Mapping[str, Any], fingerprints: Mapping[str, str]) -> None:
    """Let a new run start at step 0 with another's weights (and buffers), fresh in everything else.

    `config` is the new run's; `fingerprints` has those of its dataset, stream and tokenizer as a Record names them.
    """
    store, record = _empty(place, source), verify_checkpoint(source)
    kept = ("parameters", "buffers", "environment", "saved_at")
    old = {key: value for key, value in record.model_dump(mode="json").items() if key in kept}
    start: dict[str, Any] = {
        "step": 0,
        "position": 0,
        "tokens": 0,
        "last_loss": None,
        "heldout": {},
        "origin": str(source),
    }
    begun = {**start, **fingerprints, "config": dict(config), "moments": _moments(config, record.parameters)}
    new = Record.model_validate({**old, **begun})
    names = sorted(name for name in read_manifest(source).files if name.startswith("master-") or name == BUFFERS)
    _put(store, source, names, new, fresh=True)


def take_tensors(
    place: Place,
    weights: Mapping[str, "Tensor"],
    buffers: Mapping[str, "Tensor"],
    config: Mapping[str, Any],
    fingerprints: Mapping[str, str],
    origin: str,
) -> None:
    """`take_weights` of tensors that are no run's: fp32 `weights` and `buffers` by name, from `origin`."""
    from pipeline.checkpoint.tensors import file_parts

    store = _empty(place, origin)
    start: dict[str, Any] = {"step": 0, "position": 0, "tokens": 0, "last_loss": None, "heldout": {}, "environment": {}}
    shapes = {name: list(tensor.shape) for name, tensor in weights.items()}
    kept = {name: list(tensor.shape) for name, tensor in buffers.items()}
    given = {**start, **fingerprints, "parameters": shapes, "buffers": kept, "origin": origin, "config": dict(config)}
    record = Record.model_validate({**given, "moments": _moments(config, shapes)})
    name = folder_name(record.step)
    store.begin(name)
    masters = [
        planned for planned in plan_files({n: tuple(t.shape) for n, t in weights.items()}) if planned.kind == "master"
    ]
    contents = [(each.file_name, file_parts({part: weights[part] for part in each.names})) for each in masters]
    if buffers:
        contents.append((BUFFERS, file_parts(buffers)))
    contents += _first_moments(record, lambda: weights)
    _publish(store, {file: store.write(name, file, parts) for file, parts in contents}, record)


def _moments(config: Mapping[str, Any], shapes: Mapping[str, list[int]]) -> Mapping[str, list[str]] | None:
    from pipeline.training.optimizers.moments import names_by_moment

    return names_by_moment(config["training"].get("optimizer", "adamw"), shapes)


def _empty(place: Place, source: Folder | str) -> Store:
    store = open_store(place)
    if saved_steps(store):
        raise InputError(
            f"{store.place}: this run has trained already, so it cannot start from {source}: choose another folder "
            "(run.dir=...), or start over with --fresh"
        )
    return store


def _put(store: Store, source: Folder, names: list[str], record: Record, fresh: bool = False) -> None:
    """Publish a checkpoint of files of `source` (and the moments of a beginning)."""
    name, there = folder_name(record.step), read_manifest(source).files
    store.begin(name)
    files: dict[str, FileEntry] = {}
    for file_name in names:
        store.copy_file(source, name, file_name)
        files[file_name] = there[file_name]
    for file_name, parts in _first_moments(record, lambda: _weights_of(source)) if fresh else ():
        files[file_name] = store.write(name, file_name, parts)
    _publish(store, files, record)


def _publish(store: Store, files: dict[str, FileEntry], record: Record) -> None:
    """Make the checkpoint whose `files` are written, with its `record`, one of the run's."""
    name = folder_name(record.step)
    files[RECORD] = store.write(name, RECORD, [record.model_dump_json(indent=1).encode()])
    manifest = Manifest(format_version=FORMAT_VERSION, step=record.step, files=dict(sorted(files.items())))
    store.publish(name, encode_manifest(manifest))
    verify_checkpoint(Folder(store, name))


def _weights_of(source: Folder) -> Mapping[str, "Tensor"]:
    from pipeline.checkpoint.weights import CheckpointWeights

    return CheckpointWeights(source)


def _first_moments(
    record: Record, weights: Callable[[], Mapping[str, "Tensor"]]
) -> Iterator[tuple[str, Iterator[bytes | memoryview]]]:
    """Means are 0; `z` of a schedule-free optimizer begins at the weights."""
    import torch

    from pipeline.checkpoint.tensors import file_parts

    shapes = {name: tuple(shape) for name, shape in record.parameters.items()}
    for planned in plan_files(shapes, record.moments):
        if planned.kind == "z":
            begun = weights()
            yield planned.file_name, file_parts({name: begun[name] for name in planned.names})
        elif planned.kind != "master":
            yield planned.file_name, file_parts({name: torch.zeros(shapes[name]) for name in planned.names})
