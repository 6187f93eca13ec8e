"""C++ kernels: compiled at first use for this machine, kept in a cache, loaded with ctypes. No torch here.

Invariant: a library under its final name was built whole, by this compiler, from exactly this source and flags, for
this processor. A builder that is killed leaves nothing but a temporary file.

1. The cache name is a hash of the source, the headers beside it that it includes, compiler, flags and processor.
2. One process builds, under a lock that ends with it; the others wait and find it built.
3. The compiler writes a temporary file, which is renamed.

Without a compiler, or with one that fails, `load` gives None, and callers do the same work in Python: same results,
slower. A failing compiler is reported once.
"""

import ctypes
import fcntl
import functools
import hashlib
import os
import platform
import re
import secrets
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

_COMPILERS = ("c++", "g++", "clang++")
_FLAGS = ("-std=c++17", "-march=native", "-fPIC", "-shared", "-ffp-contract=off")
_OWN_HEADER = re.compile(rb'^#include "([\w./-]+)"', re.MULTILINE)


def load(source: Path, flags: Sequence[str] = ("-O3",), links: Sequence[str] = ()) -> ctypes.CDLL | None:
    """The library of the C++ file `source`, built if need be; None where it cannot be built.

    `flags` come before the source on the compiler's command line, `links` after it.
    """
    return _load(Path(source).resolve(), tuple(flags), tuple(links))


@functools.cache
def compiler() -> tuple[str, ...] | None:
    """The command of the C++ compiler: CXX of the environment, or the first that is installed; None without one."""
    own = shlex.split(os.environ.get("CXX", ""))
    for command in [own] if own else [[name] for name in _COMPILERS]:
        if path := shutil.which(command[0]):
            return (path, *command[1:])
    return None


@functools.cache
def compiler_version() -> str:
    """The first line of what the compiler says of itself."""
    command = compiler()
    assert command is not None, "there is a compiler"
    return subprocess.run([*command, "--version"], capture_output=True, text=True, check=True).stdout.partition("\n")[0]


def cache_folder() -> Path:
    """Where built libraries lie: `spanwright/native` in the user's cache folder."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "spanwright" / "native"


def is_built(source: Path, flags: Sequence[str] = ("-O3",), links: Sequence[str] = ()) -> bool:
    """Whether `load` would find its library in the cache."""
    return compiler() is not None and _library_path(Path(source).resolve(), (*flags, *links)).exists()


@functools.cache
def _load(source: Path, flags: tuple[str, ...], links: tuple[str, ...]) -> ctypes.CDLL | None:
    command = compiler()
    if command is None:
        return None
    library = _library_path(source, (*flags, *links))
    try:
        if not library.exists():
            _build([*command, *_FLAGS, *flags, str(source)], links, library)
        return ctypes.CDLL(str(library))
    except OSError as error:
        print(f"{source.name} runs without its kernel, slower: {error}", file=sys.stderr)
        return None


def _build(command: Sequence[str], links: Sequence[str], library: Path) -> None:
    library.parent.mkdir(parents=True, exist_ok=True)
    with open(library.with_suffix(".lock"), "a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if library.exists():
            return
        unfinished = library.with_name(f".{library.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
        try:
            done = subprocess.run(
                [*command, "-o", str(unfinished), *links], capture_output=True, text=True, check=False
            )
            if done.returncode != 0:
                raise OSError(f"it does not compile: {_first_error(done.stderr)}")
            os.rename(unfinished, library)
        finally:
            unfinished.unlink(missing_ok=True)


def _library_path(source: Path, flags: Sequence[str]) -> Path:
    digest = hashlib.sha256()
    for part in (*_sources(source), compiler_version().encode(), " ".join((*_FLAGS, *flags)).encode(), _processor()):
        digest.update(len(part).to_bytes(8, "big") + part)
    return cache_folder() / f"{source.parent.name}-{source.stem}-{digest.hexdigest()[:24]}.so"


def _sources(source: Path) -> Iterator[bytes]:
    """The bytes of `source` and of every header beside it that it includes, directly or not, each once."""
    waiting, seen = [source], set[Path]()
    while waiting:
        path = waiting.pop(0)
        if path in seen:
            continue
        seen.add(path)
        content = path.read_bytes()
        yield content
        included = [path.parent / name.decode() for name in _OWN_HEADER.findall(content)]
        waiting += [header for header in included if header.is_file()]


@functools.cache
def _processor() -> bytes:
    """What -march=native depends on: the processor's model and abilities."""
    try:
        lines = Path("/proc/cpuinfo").read_bytes().splitlines()
    except OSError:
        return platform.processor().encode()
    wanted = (b"model name", b"flags", b"Features", b"CPU part")
    return b"\n".join(next((line for line in lines if line.startswith(name)), b"") for name in wanted)


def _first_error(output: str) -> str:
    lines = output.strip().splitlines()
    return next((line for line in lines if "error" in line), lines[0] if lines else "the compiler says nothing")
