"""Where files lie: local paths, and URLs of object stores by their fsspec packages. The only home of fsspec.

Invariant: a file is read in the version that was listed, or InputError. No message shows a key.

1. A filesystem is made where it is used (in the worker), from the URL and the environment (AWS_ENDPOINT_URL, ...).
2. `listed` gives the files under a URL or matching a glob, sorted, with size and version.
3. `opened` opens one of them: seekable, in blocks, and checked against its size and version.
"""

import contextlib
import io
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

from data_prep.errors import InputError, SpanwrightError

# The stores there are, with the package that reads each.
PACKAGES = {"s3": "s3fs", "gs": "gcsfs", "hf": "huggingface_hub"}
_READ_BYTES = 1 << 20
_BLOCK_BYTES = 8 << 20  # of one request to a store
# The Hub's package remembers what it saw, and says which version a file is only in its long answer.
_FRESH_LIST: dict[str, dict[str, bool]] = {"hf": {"refresh": True}}
_FRESH_INFO: dict[str, dict[str, bool]] = {"hf": {"refresh": True, "expand_info": True}}


@dataclass(frozen=True)
class Stored:
    """A file: its path or URL, its size in bytes, and what changes when its content does."""

    path: str
    size: int
    version: str


def is_remote(path: str) -> bool:
    """Whether `path` is a URL of an object store."""
    return "://" in path


def listed(url: str) -> tuple[str, list[Stored]]:
    """The files a URL leads to (file, folder or glob), sorted, and the URL they are below ("" for one file)."""
    scheme, _, key = url.partition("://")
    fresh = _FRESH_LIST.get(scheme, {})
    with named_errors(url):
        files_there = filesystem(url)
        if re.search(r"[*?[]", key):
            root = re.split(r"[*?[]", key, maxsplit=1)[0].rpartition("/")[0]
            found = files_there.glob(key, detail=True, **fresh)
        else:
            root = key.rstrip("/")
            found = files_there.find(root, detail=True, **fresh)
        files = [_stored(scheme, info) for _, info in sorted(found.items()) if info["type"] == "file"]
    if not files:
        raise InputError(f"data.paths: {url}: no such file or folder")
    alone = len(files) == 1 and files[0].path == f"{scheme}://{root}"
    return ("" if alone else f"{scheme}://{root}/"), files


@contextlib.contextmanager
def opened(path: str, size: int, version: str) -> Iterator[BinaryIO]:
    """The file at `path`, open for reading; InputError if it is gone, unreadable, or not the version listed."""
    with _remote(path) if is_remote(path) else _local(path) as (file, found):
        if (found.size, found.version) != (size, version):
            raise _changed(path)
        yield file


def stored(path: str) -> Stored:
    """What lies at `path`; FileNotFoundError or InputError."""
    if is_remote(path):
        scheme, _, key = path.partition("://")
        with named_errors(path):
            return _stored(scheme, filesystem(path).info(key, **_FRESH_INFO.get(scheme, {})))
    status = os.stat(path)
    return Stored(path, status.st_size, str(status.st_mtime_ns))


@contextlib.contextmanager
def _local(path: str) -> Iterator[tuple[BinaryIO, Stored]]:
    try:
        file = open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb")  # noqa: SIM115 - closed below
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    with file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise InputError(f"{path}: not a regular file")
        yield file, Stored(path, status.st_size, str(status.st_mtime_ns))


@contextlib.contextmanager
def _remote(path: str) -> Iterator[tuple[BinaryIO, Stored]]:
    scheme, _, key = path.partition("://")
    with named_errors(path):
        there = filesystem(path)
        found = _stored(scheme, there.info(key, **_FRESH_INFO.get(scheme, {})))
        file = there.open(key, "rb", block_size=_BLOCK_BYTES, cache_type="readahead")
    with contextlib.closing(file):
        yield io.BufferedReader(_RemoteFile(file, path), _READ_BYTES), found


class _RemoteFile(io.RawIOBase):
    """A file of a store whose errors are ours, so that a broken connection is never taken for a broken file."""

    def __init__(self, file: Any, path: str) -> None:
        self._file, self._path = file, path

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        with named_errors(self._path):
            data = self._file.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()


def _stored(scheme: str, info: dict[str, Any]) -> Stored:
    # S3 and GCS have an ETag, the Hub a blob id; a version that is none of these is the time of change.
    names = ("ETag", "etag", "blob_id", "LastModified", "last_modified", "mtime")
    version = next((info[name] for name in names if info.get(name)), "")
    return Stored(f"{scheme}://{info['name']}", int(info["size"]), str(version).strip('"'))


def filesystem(url: str) -> Any:
    """The fsspec filesystem of a URL. Its own errors are to be caught by `named_errors`."""
    import fsspec

    scheme = url.partition("://")[0]
    if scheme not in PACKAGES:
        known = ", ".join(f"{name}://" for name in PACKAGES)
        raise InputError(f"{url}: unknown kind of URL {scheme}://; known are local paths and {known}")
    try:
        return fsspec.filesystem(scheme, use_listings_cache=False)
    except ImportError as error:
        raise InputError(f"{url}: {scheme}:// needs a package: pip install {PACKAGES[scheme]}") from error


@contextlib.contextmanager
def named_errors(path: str, action: str = "read") -> Iterator[None]:
    """A store's errors as one message that names the URL. Their own texts stay out where they might name a key."""
    try:
        yield
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file or folder (or bucket)") from error
    except PermissionError as error:
        raise InputError(f"{path}: access denied; check the credentials in the environment ({_HOW})") from error
    except SpanwrightError:
        raise
    except Exception as error:
        if not _of_a_store(error):
            raise
        if type(error).__name__ in ("FileExpired", "PreconditionFailed"):
            raise _changed(path) from error
        if type(error).__name__ in _CREDENTIAL_ERRORS:
            raise InputError(f"{path}: no credentials found in the environment ({_HOW})") from error
        endpoint = " and the endpoint (AWS_ENDPOINT_URL)" if path.startswith("s3:") else ""
        what = f"the store cannot be {action} ({type(error).__name__}); check the network{endpoint}"
        raise SpanwrightError(f"{path}: {what}") from error


_HOW = "AWS_ACCESS_KEY_ID, GOOGLE_APPLICATION_CREDENTIALS, HF_TOKEN or the store's own files"
_CREDENTIAL_ERRORS = ("NoCredentialsError", "PartialCredentialsError", "ProfileNotFound", "RefreshError")
_STORE_MODULES = ("s3fs", "botocore", "aiobotocore", "aiohttp", "gcsfs", "google", "huggingface_hub", "httpx", "httpx2")


def _of_a_store(error: BaseException) -> bool:
    return isinstance(error, OSError | TimeoutError) or type(error).__module__.partition(".")[0] in _STORE_MODULES


def _changed(path: str) -> InputError:
    return InputError(f"{path}: changed while the data was being prepared; run the same command again")
