"""Where the checkpoints of a run lie: a folder, or a prefix of an object store. What both have in common.

Invariant: a folder that `folders` gives under its final name is whole. Whatever fails or dies on the way, a save that
was not published is never seen as a checkpoint, and one that was published stays until it is removed.

    begin -> write ... write -> publish      one save, all or nothing
    remove, set_aside                        it disappears under its name at once
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from pipeline.checkpoint.format import FileEntry, step_of

Part = bytes | memoryview
DAMAGED, LEFT = "damaged-", "left-"
"""What is set aside: checkpoints that did not verify, and those that a run left by going back (--from STEP)."""
_SET_ASIDE = re.compile(r"(?P<prefix>[a-z]+-)(?P<folder>step-\d+)(-(?P<number>\d+))?")


class Store(Protocol):
    """Folders of files. Every method raises one message that names the path or URL."""

    @property
    def place(self) -> str:
        """The path or URL."""

    def folders(self) -> list[str]:
        """The names of the published folders, sorted; none where there is nothing yet."""

    def names(self, folder: str) -> list[str]:
        """The names of all that lies in a folder, sorted."""

    def read(self, folder: str, name: str, limit: int) -> bytes:
        """A file of at most `limit` bytes; CorruptionError when it is missing, longer, or no regular file."""

    def measure(self, folder: str, name: str) -> FileEntry:
        """Size and digest of a file as it is now; CorruptionError as `read`."""

    def begin(self, folder: str) -> None:
        """Start a save; what an earlier one left unfinished is removed."""

    def write(self, folder: str, name: str, parts: Iterable[Part]) -> FileEntry:
        """Write a file of a save that has begun. It is on the disk, and was read back, when this returns."""

    def publish(self, folder: str, manifest: bytes) -> None:
        """Make the save visible, sealed by its manifest. What had its name before is set aside."""

    def abandon(self, folder: str) -> None:
        """Forget a save that has begun. Raises nothing."""

    def remove(self, folder: str) -> None:
        """Remove a published folder."""

    def set_aside(self, folder: str, prefix: str = DAMAGED) -> str:
        """Give a published folder another name, which it returns: it no longer counts, and is not lost."""

    def copy_file(self, source: "Folder", folder: str, name: str) -> None:
        """Put a file of another folder into a save that has begun, as it is."""


def set_aside_folders(names: Iterable[str], prefixes: Sequence[str] = (DAMAGED, LEFT)) -> dict[str, int]:
    """The folders among `names` that were set aside under `prefixes`, and the step of each, earliest first."""
    found = []
    for name in names:
        match = _SET_ASIDE.fullmatch(name)
        step = step_of(match["folder"]) if match and match["prefix"] in prefixes else None
        if match and step is not None:
            found.append((step, int(match["number"] or 1), name))
    return {name: step for step, _, name in sorted(found)}


@dataclass(frozen=True)
class Folder:
    """One checkpoint in a store."""

    store: Store
    name: str

    def __str__(self) -> str:
        return f"{self.store.place}/{self.name}"

    def path(self, name: str) -> str:
        """How messages name a file in it."""
        return f"{self}/{name}"

    def names(self) -> list[str]:
        """All that lies in it, sorted."""
        return self.store.names(self.name)

    def read(self, name: str, limit: int) -> bytes:
        """A file's bytes."""
        return self.store.read(self.name, name, limit)

    def measure(self, name: str) -> FileEntry:
        """A file's size and digest."""
        return self.store.measure(self.name, name)
