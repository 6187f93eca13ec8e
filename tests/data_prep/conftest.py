"""A small real corpus (packages of the standard library), and tasks run in this process."""

import os
import shutil
import sysconfig
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from data_prep.build import Build
from data_prep.calls import execute
from data_prep.config import DataConfig
from data_prep.errors import SpanwrightError
from data_prep.finish import FINISHES
from data_prep.progress import NoProgress
from data_prep.publish import PrepReport
from data_prep.stages import STAGES
from data_prep.work import WorkFolder

# A busy machine takes its time: how long an example takes says nothing about the code.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")

TINY_STAGES = Path(__file__).parent / "tiny_stages"
PACKAGES = ("json", "email", "logging")
SMALL: dict[str, Any] = {
    "heldout_fraction": 0.1,
    "split_bytes": 65536,
    "tokenizer": {"vocab_size": 800, "sample_bytes": 65536},
    "shards": {"chunk_tokens": 8192, "window_sizes": [128]},
}


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """About 0.6 MB of Python source in a folder of its own."""
    folder = tmp_path_factory.mktemp("corpus")
    stdlib = Path(sysconfig.get_paths()["stdlib"])
    for package in PACKAGES:
        shutil.copytree(stdlib / package, folder / package, ignore=shutil.ignore_patterns("__pycache__", "*.rst"))
    return folder


@pytest.fixture(scope="session")
def small_config() -> Callable[..., DataConfig]:
    """A config for small corpora: `small_config(paths, max_documents=3, ...)`."""
    return lambda paths, **more: DataConfig.model_validate({**SMALL, "paths": str(paths), **more})


class Inline:
    """Runs tasks in this process, in the given order, and remembers what ran."""

    def __init__(self, order: Callable[[Sequence[Any]], Sequence[Any]] = lambda tasks: tasks) -> None:
        self.ran: list[str] = []
        self._order = order

    def __call__(self, function: Any, tasks: Sequence[Any], work: WorkFolder, on_done: Any) -> None:
        for task in self._order(tasks):
            record = execute(function, task, work.root)
            if isinstance(record, SpanwrightError):
                raise record
            self.ran.append(task.kind)
            on_done(task, record)

    def build(self, config: DataConfig, out: Path) -> PrepReport:
        """Prepare `config` into `out`."""
        out.mkdir(exist_ok=True)
        return Build(config, out, self, NoProgress()).run()


@pytest.fixture
def inline() -> Inline:
    """Runs tasks in this process."""
    return Inline()


@pytest.fixture(scope="session")
def make_inline() -> type[Inline]:
    """`make_inline(order)` runs tasks in another order."""
    return Inline


def dataset_files(out: Path) -> dict[str, bytes]:
    """Every file of a dataset, by its path, without the work folder."""
    return {
        path.relative_to(out).as_posix(): path.read_bytes()
        for path in sorted(out.rglob("*"))
        if path.is_file() and ".work" not in path.parts
    }


@pytest.fixture(name="dataset_files")
def _dataset_files() -> Callable[[Path], dict[str, bytes]]:
    return dataset_files


@pytest.fixture
def public_folder() -> Iterator[Path]:
    """An empty folder that every user can reach; pytest's own are closed to others."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@contextmanager
def _as_nobody() -> Iterator[None]:
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def as_nobody() -> Callable[..., Any]:
    """`with as_nobody():` runs without the privileges of root, to whom every file is open."""
    return _as_nobody


@pytest.fixture
def tiny_stages(monkeypatch: pytest.MonkeyPatch) -> Path:
    """The stages and the finish of the folder `tiny_stages`, to be named in configs: their folder."""
    monkeypatch.syspath_prepend(str(TINY_STAGES))
    for kind in ("short", "suffix", "once", "lossy"):
        monkeypatch.setitem(STAGES, kind, f"tiny_{kind}")
    monkeypatch.setitem(FINISHES, "select", "tiny_select")
    return TINY_STAGES
