"""Checkpoints in an object store: s3:// and gs:// through fsspec.

A store has no rename: files are written under their final names, and a folder counts from the moment that its manifest
is there. So the manifest is put last, and removed first.
"""

import contextlib
import hashlib
from collections.abc import Iterable, Iterator

from data_prep.errors import CorruptionError, InputError, SpanwrightError
from data_prep.sources.storage import filesystem, named_errors
from pipeline.checkpoint.format import MANIFEST, FileEntry
from pipeline.checkpoint.store import DAMAGED, Folder, Part

_BLOCK_BYTES = 8 << 20


class ObjectStore:
    """A prefix of a bucket with checkpoints below it."""

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/")
        self._root = self._url.partition("://")[2]
        self._filesystem = filesystem(self._url)

    @property
    def place(self) -> str:
        """The URL."""
        return self._url

    def folders(self) -> list[str]:
        """The names of the prefixes here that have a manifest."""
        with named_errors(self._url):
            found = self._filesystem.glob(f"{self._root}/*/{MANIFEST}")
        return sorted(key.split("/")[-2] for key in found)

    def names(self, folder: str) -> list[str]:
        """All below a folder."""
        with named_errors(f"{self._url}/{folder}"):
            found = self._filesystem.find(f"{self._root}/{folder}")
        return sorted(key.removeprefix(f"{self._root}/{folder}/") for key in found)

    def read(self, folder: str, name: str, limit: int) -> bytes:
        """A file of at most `limit` bytes."""
        with self._found(folder, name) as key:
            data: bytes = self._filesystem.cat_file(key, start=0, end=limit + 1)
        if len(data) > limit:
            raise CorruptionError(f"{self._path(folder, name)}: longer than it can be")
        return data

    def measure(self, folder: str, name: str) -> FileEntry:
        """Size and digest, in bounded memory."""
        digest, size = hashlib.sha256(), 0
        with (
            self._found(folder, name) as key,
            self._filesystem.open(key, "rb", block_size=_BLOCK_BYTES, cache_type="readahead") as file,
        ):
            while block := file.read(_BLOCK_BYTES):
                digest.update(block)
                size += len(block)
        return FileEntry(size=size, sha256=digest.hexdigest())

    def begin(self, folder: str) -> None:
        """Remove what a save of this step left unfinished; set a finished one aside."""
        if folder in self.folders():
            self.set_aside(folder)
        self._remove(self.names(folder), folder)

    def write(self, folder: str, name: str, parts: Iterable[Part]) -> FileEntry:
        """Put a file. Stores check its digest as they receive it; here its size is asked for once more."""
        data = b"".join(parts)
        with named_errors(self._path(folder, name), "written"):
            self._filesystem.pipe_file(self._key(folder, name), data)
            size = self._filesystem.info(self._key(folder, name))["size"]
        if size != len(data):
            raise SpanwrightError(f"{self._path(folder, name)}: {len(data)} bytes were written, {size} are there")
        return FileEntry(size=len(data), sha256=hashlib.sha256(data).hexdigest())

    def publish(self, folder: str, manifest: bytes) -> None:
        """Put the manifest."""
        self.write(folder, MANIFEST, [manifest])

    def abandon(self, folder: str) -> None:
        """Remove what was put, as far as that is possible."""
        with contextlib.suppress(SpanwrightError, OSError):
            self._remove(self.names(folder), folder)

    def remove(self, folder: str) -> None:
        """Remove the manifest, then the rest."""
        self._remove([MANIFEST], folder)
        self._remove(self.names(folder), folder)

    def set_aside(self, folder: str, prefix: str = DAMAGED) -> str:
        """Copy to a name that is free, manifest last, then remove."""
        taken, aside, number = self.folders(), f"{prefix}{folder}", 1
        while aside in taken:
            number += 1
            aside = f"{prefix}{folder}-{number}"
        for name in sorted(self.names(folder), key=lambda name: name == MANIFEST):
            with named_errors(self._path(aside, name), "written"):
                self._filesystem.cp_file(self._key(folder, name), self._key(aside, name))
        self.remove(folder)
        return aside

    def copy_file(self, source: Folder, folder: str, name: str) -> None:
        """Read and put."""
        self.write(folder, name, [source.read(name, source.measure(name).size)])

    def _remove(self, names: Iterable[str], folder: str) -> None:
        for name in names:
            with named_errors(self._path(folder, name), "written"), contextlib.suppress(FileNotFoundError):
                self._filesystem.rm_file(self._key(folder, name))

    @contextlib.contextmanager
    def _found(self, folder: str, name: str) -> Iterator[str]:
        try:
            with named_errors(self._path(folder, name)):
                yield self._key(folder, name)
        except InputError as error:
            if isinstance(error.__cause__, FileNotFoundError):
                raise CorruptionError(f"{self._path(folder, name)}: missing") from error
            raise

    def _key(self, folder: str, name: str) -> str:
        return f"{self._root}/{folder}/{name}"

    def _path(self, folder: str, name: str) -> str:
        return f"{self._url}/{folder}/{name}"
