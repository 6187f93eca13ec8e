"""The files of a Hugging Face dataset saved with `save_to_disk`, in the order that its own JSON files give."""

import json
from pathlib import Path
from typing import Any

from data_prep.errors import InputError

_STATE, _PARTS = "state.json", "dataset_dict.json"


def is_saved_dataset(folder: Path) -> bool:
    """Whether `folder` is what `save_to_disk` leaves: a dataset, or a dictionary of them."""
    return (folder / _STATE).is_file() or (folder / _PARTS).is_file()


def data_files(folder: Path) -> list[Path]:
    """The Arrow files of a saved dataset, or of every part of a dictionary; InputError when something is amiss."""
    if (folder / _PARTS).is_file():
        parts = _names(folder / _PARTS, _load(folder / _PARTS).get("splits"))
        return [file for part in parts for file in data_files(folder / part)]
    path = folder / _STATE
    state = _load(path)
    if state.get("_indices_data_files"):
        raise InputError(f"{path}: its rows are picked by an index; call flatten_indices() and save it again")
    files = state.get("_data_files")
    names = [entry.get("filename") for entry in files] if isinstance(files, list) else None
    return [folder / name for name in _names(path, names)]


def _names(path: Path, names: Any) -> list[str]:
    """Names of entries beside `path`."""
    if not isinstance(names, list) or not all(isinstance(name, str) and name for name in names):
        raise InputError(f"{path}: not written by datasets.save_to_disk; give its .arrow or .parquet files instead")
    for name in names:
        if "/" in name or name in (".", "..") or not (path.parent / name).exists():
            raise InputError(f"{path}: it names {name!r}, which is not beside it; copy the whole folder")
    return names


def _load(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read: {error}") from error
    return content if isinstance(content, dict) else {}
