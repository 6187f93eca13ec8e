import ctypes
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from data_prep import native

SOURCE = '#include "answer.h"\nextern "C" int answer() { return ANSWER; }\n'
SLOW = "".join(f"template <int> struct T{n} {{ static int f(int x) {{ return x * {n}; }} }};\n" for n in range(3000))
ASK = (
    "import sys; from pathlib import Path; from data_prep import native; print(native.load(Path(sys.argv[1])).answer())"
)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    native._load.cache_clear()
    return tmp_path / "cache" / "spanwright" / "native"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    (tmp_path / "answer.h").write_text("#define ANSWER 42\n")
    (tmp_path / "question.cpp").write_text(SOURCE)
    return tmp_path / "question.cpp"


def answer(source: Path) -> int:
    library = native.load(source)
    assert isinstance(library, ctypes.CDLL)
    return library.answer()


def test_a_kernel_is_built_once_and_again_when_its_header_changes(source: Path, own_cache: Path) -> None:
    assert not native.is_built(source)
    assert answer(source) == 42
    assert native.is_built(source)
    [library] = own_cache.glob("*.so")
    before = library.stat().st_mtime_ns
    native._load.cache_clear()
    assert answer(source) == 42
    assert library.stat().st_mtime_ns == before
    (source.parent / "answer.h").write_text("#define ANSWER 43\n")
    native._load.cache_clear()
    assert answer(source) == 43
    assert len(list(own_cache.glob("*.so"))) == 2


def test_four_processes_that_want_it_at_once_all_get_it(source: Path, own_cache: Path) -> None:
    command = [sys.executable, "-c", ASK, str(source)]
    asking = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    assert [process.communicate(timeout=300)[0] for process in asking] == ["42\n"] * 4
    assert len(list(own_cache.glob("*.so"))) == 1
    assert not list(own_cache.glob(".*"))


def test_a_builder_that_was_killed_is_no_hindrance(source: Path, own_cache: Path) -> None:
    source.write_text(SLOW + SOURCE)
    process = subprocess.Popen([sys.executable, "-c", ASK, str(source)], start_new_session=True)
    while not list(own_cache.glob("*.lock")):
        assert process.poll() is None
        time.sleep(0.002)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not list(own_cache.glob("*.so"))  # it was killed before it was done
    assert answer(source) == 42


def test_without_a_compiler_there_is_none(source: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    native.compiler.cache_clear()
    try:
        assert native.load(source) is None
        assert not native.is_built(source)
    finally:
        native.compiler.cache_clear()


def test_a_source_that_does_not_compile_is_reported_once_and_there_is_none(
    source: Path, own_cache: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    source.write_text("int main( {")
    assert native.load(source) is None
    assert native.load(source) is None
    [line] = capfd.readouterr().err.splitlines()
    assert line.startswith("question.cpp runs without its kernel, slower: it does not compile: ")
    assert "question.cpp:1:" in line
    assert not list(own_cache.glob("*.so"))
    assert not list(own_cache.glob(".*"))


def test_a_cache_that_cannot_be_written_is_reported_and_there_is_none(
    source: Path, own_cache: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    own_cache.parent.parent.mkdir(parents=True)
    own_cache.parent.write_text("a file in the way")
    assert native.load(source) is None
    assert "slower" in capfd.readouterr().err
