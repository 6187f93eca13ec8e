"""From a path or URL to the store or the checkpoint that lies there."""

from pathlib import Path

from pipeline.checkpoint.local_store import LocalStore
from pipeline.checkpoint.store import Folder, Store


def open_store(place: "Store | Path | str") -> Store:
    """The store at a path or URL."""
    if isinstance(place, Path):
        place = str(place)
    if not isinstance(place, str):
        return place
    if "://" in place:
        from pipeline.checkpoint.object_store import ObjectStore  # fsspec takes time

        return ObjectStore(place)
    return LocalStore(Path(place))


def open_folder(place: "Folder | Path | str") -> Folder:
    """The checkpoint at a path or URL."""
    if isinstance(place, Folder):
        return place
    root, _, name = str(place).rstrip("/").rpartition("/")
    return Folder(open_store(root or "."), name)
