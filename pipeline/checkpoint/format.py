"""What a checkpoint is on disk (format version 1).

    checkpoints/step-00000100/
        master-00000.safetensors      fp32 weights, a tensor per parameter, in files of bounded size
        exp_avg-00000.safetensors     first moments of their gradients
        exp_avg_sq-00000.safetensors  second moments, of those whose optimizer keeps them
        z-00000.safetensors           schedule-free optimizers: the weights without the averaging
        buffers-00000.safetensors     the objective's persistent buffers, where it has any, in their own dtypes
        rng-00000.json                generators of rank 0, ...
        state.json                    Record: step, position, config, fingerprints, ...
        manifest.json                 size and sha256 of every other file; written last

Which parameter lies in which file depends on names and shapes only, never on the number of ranks or the ZeRO stage.
"""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from data_prep.errors import CorruptionError

FORMAT_VERSION = 1
MANIFEST = "manifest.json"
RECORD = "state.json"
BUFFERS = "buffers-00000.safetensors"
Kind = Literal["master", "exp_avg", "exp_avg_sq", "z"]
KINDS: tuple[Kind, ...] = ("master", "exp_avg", "exp_avg_sq")
"""What there is of every parameter unless the record says otherwise."""
KINDS_OF_ALL: tuple[Kind, ...] = (*KINDS, "z")
FILE_BYTES = 256 << 20

_STEP_FOLDER = re.compile(r"step-(\d{8,})")
_FILE_NAME = re.compile(r"[a-z][a-z0-9_]*(-\d{5,})?\.(safetensors|json)")
_Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
_Natural = Annotated[int, Field(ge=0)]


class _Stored(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class FileEntry(_Stored):
    """Size and digest of one file."""

    size: _Natural
    sha256: _Sha256


class Manifest(_Stored):
    """Everything a checkpoint holds."""

    format_version: int
    step: _Natural
    files: dict[str, FileEntry]


class SkippedSamples(_Stored):
    """Samples [start, stop) that the run left out, the step (from 0) that would have read them, and why."""

    start: _Natural
    stop: _Natural
    step: _Natural
    reason: str


class DataChange(_Stored):
    """From the sample at `position` (after `step` updates) on, the run reads other data than before."""

    step: _Natural
    position: _Natural
    changed: dict[str, tuple[Any, Any]]
    """What was and what is, by name."""


class Record(_Stored):
    """Where the run stands, and what it must be continued with."""

    step: _Natural
    position: _Natural
    tokens: _Natural
    """Rows of all views that the model has been trained on."""
    config: dict[str, Any]
    dataset_fingerprint: str
    stream_fingerprint: str
    tokenizer_digest: str
    parameters: dict[str, list[int]]
    last_loss: str | None
    """Hexadecimal training loss of the last step."""
    heldout: dict[str, float]
    """Held-out losses so far that the result names: before the first step, and the last."""
    environment: dict[str, Any]
    """World size, ZeRO stage, threads, CPU, versions: what bit-exactness depends on."""
    buffers: dict[str, list[int]] = {}
    """Shapes of the objective's persistent buffers."""
    skipped: list[SkippedSamples] = []
    data_changes: list[DataChange] = []
    origin: str | None = None
    """The checkpoint of another run that this one started from."""
    recent_losses: list[str] = []
    """Hexadecimal losses that the next one is judged by (training.trouble)."""
    recent_grad_norms: list[str] = []
    moments: dict[str, list[str]] | None = None
    """The parameters that have each moment (default: all have both)."""
    weight_sums: dict[str, str] = {}
    """Schedule-free optimizers: the hexadecimal sum of the weights of the average, by group of `training.groups`."""
    skipped_updates: list[SkippedSamples] = []
    """Samples that were read and made no update (training.trouble): `step` counts them, the optimizer does not."""
    saved_at: str | None = None
    """When, in UTC (ISO 8601)."""


class PlannedFile(NamedTuple):
    """One safetensors file: the tensors of kind `kind` of the parameters `names`."""

    file_name: str
    kind: Kind
    names: tuple[str, ...]


def folder_name(step: int) -> str:
    """The name of the checkpoint after `step` updates."""
    return f"step-{step:08d}"


def step_of(name: str) -> int | None:
    """The step whose checkpoint has this folder name; None for any other name."""
    match = _STEP_FOLDER.fullmatch(name)
    return int(match[1]) if match and folder_name(int(match[1])) == name else None


def plan_files(
    shapes: Mapping[str, tuple[int, ...]],
    moments: Mapping[str, Sequence[str]] | None = None,
    file_bytes: int = FILE_BYTES,
) -> list[PlannedFile]:
    """The safetensors files of a model with parameters of these `shapes`, each at most `file_bytes` or one tensor.

    `moments`: the names of those that have each moment (default: all have both).
    """
    if moments is None:
        moments = {kind: list(shapes) for kind in KINDS[1:]}
    found = []
    for kind in KINDS_OF_ALL:
        names = shapes if kind == "master" else moments.get(kind, ())
        for number, group in enumerate(_in_files(sorted(names), shapes, file_bytes)):
            found.append(PlannedFile(f"{kind}-{number:05d}.safetensors", kind, tuple(group)))
    return found


def _in_files(names: Sequence[str], shapes: Mapping[str, tuple[int, ...]], file_bytes: int) -> list[list[str]]:
    groups: list[list[str]] = []
    room = 0
    for name in names:
        size = 4
        for extent in shapes[name]:
            size *= extent
        if size > room:
            groups.append([])
            room = file_bytes
        groups[-1].append(name)
        room -= size
    return groups


def expected_files(record: Record) -> Sequence[str]:
    """The files that a checkpoint with this record holds besides the generators and the record itself."""
    shapes = {name: tuple(shape) for name, shape in record.parameters.items()}
    planned = plan_files(shapes, record.moments)
    return [each.file_name for each in planned] + ([BUFFERS] if record.buffers else [])


def rng_file(rank: int) -> str:
    """The file of the generators of `rank`."""
    return f"rng-{rank:05d}.json"


def encode_manifest(manifest: Manifest) -> bytes:
    """Canonical JSON with the digest of itself, so that a change of the manifest shows too."""
    content = manifest.model_dump()
    return _canonical({**content, "digest": hashlib.sha256(_canonical(content)).hexdigest()})


def decode_manifest(data: bytes, path: str) -> Manifest:
    """The manifest in `data`; CorruptionError naming `path` unless it is one, unchanged, of this version."""
    try:
        content = json.loads(data)
        digest = content.pop("digest")
        manifest = Manifest.model_validate(content)
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError, ValidationError):
        raise CorruptionError(f"{path}: not a checkpoint manifest") from None
    if digest != hashlib.sha256(_canonical(content)).hexdigest():
        raise CorruptionError(f"{path}: changed since it was written")
    if manifest.format_version != FORMAT_VERSION:
        raise CorruptionError(
            f"{path}: format version {manifest.format_version}; this program reads version {FORMAT_VERSION}"
        )
    for name in manifest.files:
        if not _FILE_NAME.fullmatch(name) or name == MANIFEST:
            raise CorruptionError(f"{path}: lists a file named {name!r}, which no checkpoint holds")
    return manifest


def decode_record(data: bytes, path: str) -> Record:
    """The record in `data`; CorruptionError naming `path` when it is not one."""
    try:
        return Record.model_validate_json(data)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise CorruptionError(f"{path}: not a checkpoint record ({where}: {first['msg']})") from None


def _canonical(content: Any) -> bytes:
    return json.dumps(content, sort_keys=True, separators=(",", ":")).encode()
