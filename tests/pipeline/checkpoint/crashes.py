"""What a disk may hold after a crash: a recording of file operations, and the states that any prefix of it allows.

The model is stricter than any real file system. A file's bytes are safe only once the file was synced, a name (new,
changed, removed) only once its folder was. What was not synced may be there or not, each operation for itself; of
unsynced bytes there may be all, none, some, or as many zeros.
"""

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from pipeline.checkpoint.disk import Disk


class Event(NamedTuple):
    """One operation: its name, the path (relative to the recorded folder), and a second path or the bytes."""

    name: str
    path: str
    more: Any = None


class RecordingDisk(Disk):
    """Does everything, and notes it."""

    def __init__(self, root: Path) -> None:
        self.root, self.events = root, list[Event]()

    def make_folder(self, path: Path) -> None:
        super().make_folder(path)
        self._note("make_folder", path)

    def create(self, path: Path) -> BinaryIO:
        file = super().create(path)
        self._note("create", path)
        return file

    def append(self, file: BinaryIO, data: bytes | memoryview) -> None:
        super().append(file, data)
        self._note("append", Path(file.name), bytes(data))

    def sync(self, file: BinaryIO) -> None:
        super().sync(file)
        self._note("sync", Path(file.name))

    def sync_folder(self, path: Path) -> None:
        super().sync_folder(path)
        self._note("sync_folder", path)

    def rename(self, old: Path, new: Path) -> None:
        super().rename(old, new)
        self._note("rename", old, str(new.relative_to(self.root)))

    def remove_file(self, path: Path) -> None:
        super().remove_file(path)
        self._note("remove", path)

    def remove_folder(self, path: Path) -> None:
        super().remove_folder(path)
        self._note("remove", path)

    def _note(self, name: str, path: Path, more: Any = None) -> None:
        self.events.append(Event(name, str(path.relative_to(self.root)), more))


class _File:
    def __init__(self) -> None:
        self.safe, self.now = b"", b""


class _Folder:
    """`safe` are the names that were synced, `pending` the changes since, in order."""

    def __init__(self) -> None:
        self.safe: dict[str, Any] = {}
        self.now: dict[str, Any] = {}
        self.pending: list[Callable[[dict[str, Any]], None]] = []

    def change(self, operation: Callable[[dict[str, Any]], None]) -> None:
        operation(self.now)
        self.pending.append(operation)


Fate = Callable[[], bool]
Bytes = Callable[[_File], bytes]


class CrashedDisk:
    """A folder after some events, about to lose what was not synced."""

    def __init__(self, events: list[Event]) -> None:
        self._root = _Folder()
        for event in events:
            getattr(self, f"_{event.name}")(event)

    def states(self, seed: int, num_random: int) -> Iterator[tuple[str, Callable[[Path], None]]]:
        """(name, function that writes it into an empty folder) of the states this crash may leave."""
        draw = random.Random(seed)
        fates: list[tuple[str, Fate, Bytes]] = [
            ("all lost", lambda: False, lambda file: file.safe),
            ("all kept", lambda: True, lambda file: file.now),
            ("names without bytes", lambda: True, lambda file: file.safe),
            ("names with zeros", lambda: True, lambda file: file.safe + bytes(len(file.now) - len(file.safe))),
        ]
        fates += [
            (f"random {number}", lambda: draw.random() < 0.5, lambda file: _some_of(file, draw))
            for number in range(num_random)
        ]
        for name, survives, content in fates:
            yield name, lambda target, s=survives, c=content: _write(self._root, target, s, c)  # type: ignore[misc]

    def _find(self, path: str) -> tuple[_Folder, str]:
        *above, name = Path(path).parts or (".",)
        folder = self._root
        for part in above:
            folder = folder.now[part]
        return folder, name

    def _make_folder(self, event: Event) -> None:
        self._put(event.path, _Folder())

    def _create(self, event: Event) -> None:
        self._put(event.path, _File())

    def _put(self, path: str, new: _File | _Folder) -> None:
        folder, name = self._find(path)
        folder.change(lambda names: names.update({name: new}))

    def _append(self, event: Event) -> None:
        folder, name = self._find(event.path)
        folder.now[name].now += event.more

    def _sync(self, event: Event) -> None:
        folder, name = self._find(event.path)
        folder.now[name].safe = folder.now[name].now

    def _sync_folder(self, event: Event) -> None:
        above, name = self._find(event.path)
        folder = self._root if event.path == "." else above.now[name]
        folder.safe, folder.pending = dict(folder.now), []

    def _rename(self, event: Event) -> None:
        folder, old = self._find(event.path)
        other, new = self._find(event.more)
        assert other is folder, "a rename between folders is two changes that a crash may part"

        def rename(names: dict[str, Any]) -> None:
            if old in names:
                names[new] = names.pop(old)

        folder.change(rename)

    def _remove(self, event: Event) -> None:
        folder, name = self._find(event.path)
        folder.change(lambda names: names.pop(name, None))


def _write(folder: _Folder, target: Path, survives: Fate, content: Bytes) -> None:
    names = dict(folder.safe)
    for operation in folder.pending:
        if survives():
            operation(names)
    target.mkdir()
    for name, child in names.items():
        if isinstance(child, _Folder):
            _write(child, target / name, survives, content)
        else:
            (target / name).write_bytes(content(child))


def _some_of(file: _File, draw: random.Random) -> bytes:
    rest = file.now[len(file.safe) :]
    kept = rest[: draw.randint(0, len(rest))]
    return file.safe + (kept if draw.random() < 0.5 else kept + bytes(len(rest) - len(kept)))
