"""Re-hash a dataset and list everything that is wrong with it, by file name.

1. The manifest must be byte for byte what its own digest says.
2. The tokenizer's files, every index, every tar and every member must be what the manifest and the indexes say.
3. Nothing may be missing, and no shard may lie there that the manifest does not list.
"""

import os
import stat
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from data_prep.errors import CorruptionError, InputError, SpanwrightError
from data_prep.shards import canonical
from data_prep.shards.files import named_errors, read_file
from data_prep.shards.manifest import Manifest, TokenizerFile, decode_manifest
from data_prep.shards.mapped import MappedShard
from data_prep.shards.names import INDEX_SUFFIX, MANIFEST_NAME, TAR_SUFFIX, index_path, tar_path


@dataclass(frozen=True)
class AuditReport:
    """What an audit found; `problems` is empty when every byte is as it was written."""

    folder: Path
    num_shards: int
    num_bytes: int
    problems: list[str]

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems


def audit_dataset(folder: Path) -> AuditReport:
    """Read and compare every byte of the dataset in `folder`. A folder without a manifest is an InputError."""
    try:
        manifest = read_manifest(folder)
    except CorruptionError as error:
        return AuditReport(folder, 0, 0, [str(error)])
    problems = [*audit_tokenizer(folder, manifest), *audit_shards(folder, manifest), *unlisted_files(folder, manifest)]
    return AuditReport(folder, len(manifest.entries), manifest.totals.bytes, problems)


def read_manifest(folder: Path) -> Manifest:
    """The verified manifest of the dataset in `folder`; InputError when there is no dataset."""
    path = folder / MANIFEST_NAME
    with named_errors(path, "read"):
        try:
            os.lstat(path)
        except (FileNotFoundError, NotADirectoryError) as error:
            message = f"{folder}: no dataset here (no {MANIFEST_NAME}); make one with `spanwright prep CONFIG`"
            raise InputError(message) from error
    try:
        return decode_manifest(read_file(path))
    except ValueError as error:
        raise CorruptionError(f"{path}: {error}") from error


def audit_tokenizer(folder: Path, manifest: Manifest) -> list[str]:
    """What is wrong with the tokenizer's files."""
    tokenizer = manifest.tokenizer
    place = folder / tokenizer.path
    if place.is_symlink() or not place.is_dir():
        return [f"{place}: missing, or not a folder"]
    extra = sorted(_listdir(place) - set(tokenizer.files))
    found = [_problem(partial(_verify_file, place / name, file)) for name, file in tokenizer.files.items()]
    return [f"{place / name}: extra (not in the manifest)" for name in extra] + [text for text in found if text]


def audit_shards(folder: Path, manifest: Manifest, *, tars: bool = True) -> list[str]:
    """What is wrong with the shards: the first problem of each, in the order of the manifest. Hashes on all cores.

    Without `tars` the manifest's digests of them are not compared; every byte is, by the indexes.
    """
    shards = (partial(MappedShard(folder, entry, manifest).verify, tar=tars) for entry in manifest.entries)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return [problem for problem in pool.map(_problem, shards) if problem]


def unlisted_files(folder: Path, manifest: Manifest) -> list[str]:
    """Shards that lie in the folder though the manifest does not list them."""
    listed = {
        name + suffix for name in (entry.name for entry in manifest.entries) for suffix in (TAR_SUFFIX, INDEX_SUFFIX)
    }
    extra = sorted(name for name in _listdir(folder) - listed if name.endswith((TAR_SUFFIX, INDEX_SUFFIX)))
    return [f"{folder / name}: extra (not in the manifest)" for name in extra]


def misplaced_files(folder: Path, manifest: Manifest) -> Iterator[str]:
    """What is wrong without reading: missing files, links, tars of another size."""
    for entry in manifest.entries:
        for path, size in ((tar_path(folder, entry.name), entry.size), (index_path(folder, entry.name), None)):
            try:
                found = os.lstat(path)
            except OSError as error:
                yield f"{path}: missing ({error.strerror})"
                continue
            if not stat.S_ISREG(found.st_mode):
                yield f"{path}: a link or not a regular file"
            elif size not in (None, found.st_size):
                yield f"{path}: {found.st_size} bytes where the manifest says {size}"


def _listdir(folder: Path) -> set[str]:
    with named_errors(folder, "read"):
        return {name for name in os.listdir(folder) if not name.startswith(".")}


def _verify_file(path: Path, expected: TokenizerFile) -> None:
    data = read_file(path)
    if len(data) != expected.size or canonical.digest(data) != expected.sha256:
        raise CorruptionError(f"{path}: changed (its digest is not the one in the manifest)")


def _problem(verify: Callable[[], None]) -> str | None:
    """The message of the error that `verify` ends with, if it does."""
    try:
        verify()
    except SpanwrightError as error:
        return str(error)
    return None
