"""A run that is small enough to be trained again and again, and the weights it must end with."""

import contextlib
import fcntl
import json
import os
import subprocess
import sys
import sysconfig
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.processes import held_still

SPANWRIGHT = [sys.executable, "-m", "launch.cli"]
STEPS = 24
CONFIG = f"""\
extends: t5_span
data:
  paths: [corpus.jsonl]
  tokenizer: {{vocab_size: 512, sample_bytes: 100000}}
  heldout_fraction: 0.1
model: {{d_model: 32, d_kv: 16, d_ff: 64, num_layers: 2, num_heads: 2, dropout_rate: 0.1}}
stream: {{window: 64}}
training:
  steps: {STEPS}
  global_batch: 8
  micro_batch: 2
  ranks: 2
  heldout_samples: 4
  threads_per_rank: 1
  log_every: 1
  loader_workers: 0
checkpoint: {{save_every: 4}}
evaluation: {{fill_in: 0}}
"""


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object that is being replaced all the time; empty when it is not there."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def steps_done(run_dir: Path) -> int:
    """The last step in a run's metrics (a rank's beat is a second old at worst, and a second is many steps)."""
    path = run_dir / "train" / "metrics.jsonl"
    lines = path.read_text(encoding="utf-8").split("\n")[:-1] if path.is_file() else []
    return json.loads(lines[-1])["step"] if lines else 0


def beat_in(run_dir: Path, attempt: int, rank: int, step: int) -> dict[str, Any]:
    """The beat of `rank` once the run has done `step` steps in that attempt; else empty."""
    beat = read_json(run_dir / "train" / "beats" / f"rank-{rank}.json")
    current = read_json(run_dir / "train" / "nodes" / "attempt.json")
    fits = current.get("number") == attempt and current.get("state") == "running"
    return beat if fits and steps_done(run_dir) >= step else {}


def start(arguments: Sequence[str], log: Path) -> subprocess.Popen[bytes]:
    """`spanwright ARGUMENTS` in the background, both outputs to `log`."""
    with open(log, "wb") as output:
        return subprocess.Popen([*SPANWRIGHT, *arguments], stdout=output, stderr=subprocess.STDOUT, cwd=log.parent)


def spanwright(folder: Path, *arguments: str) -> str:
    """What `spanwright ARGUMENTS` prints in that folder; it has to succeed."""
    done = subprocess.run([*SPANWRIGHT, *arguments], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def paused(run_dir: Path, rank: int = 1) -> contextlib.AbstractContextManager[int]:
    """The process of `rank`, held still within the block, and with it the training: it must not end before we act."""
    return held_still(read_json(run_dir / "train" / "beats" / f"rank-{rank}.json")["pid"])


@contextlib.contextmanager
def made_once(factory: pytest.TempPathFactory, name: str) -> Iterator[Path]:
    """A folder that test processes side by side share: within the block they take turns."""
    base = factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / name
    folder.mkdir(exist_ok=True)
    with open(folder / ".lock", "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield folder


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with small.yaml and its dataset in data/ (of one unit: prepared without Ray)."""
    with made_once(tmp_path_factory, "small") as folder:
        if not (folder / "data" / "manifest.json").is_file():
            _prepare(folder)
    return folder


def _prepare(folder: Path) -> None:
    stdlib = Path(sysconfig.get_path("stdlib"))
    texts = [path.read_text(encoding="utf-8") for name in ("json", "logging") for path in (stdlib / name).glob("*.py")]
    lines = (json.dumps({"text": text}) + "\n" for text in sorted(texts))
    (folder / "corpus.jsonl").write_text("".join(lines), encoding="utf-8")
    (folder / "small.yaml").write_text(CONFIG, encoding="utf-8")
    spanwright(folder, "prep", "small.yaml", "data.dir=data", "run.dir=undisturbed")


@pytest.fixture(scope="session")
def undisturbed(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The result of the run when nothing happens to it."""
    result = prepared / "undisturbed" / "train" / "result.json"
    with made_once(tmp_path_factory, "small"):
        if not result.is_file():
            spanwright(prepared, "train", "small.yaml", "data.dir=data", "run.dir=undisturbed")
    return read_json(result)
