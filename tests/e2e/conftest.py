"""Corpora and commands for the tests that go the whole way, as a user would."""

import json
import subprocess
import sys
import sysconfig
from collections.abc import Sequence
from pathlib import Path

import pytest

SPANWRIGHT = [sys.executable, "-m", "launch.cli"]
STDLIB = Path(sysconfig.get_path("stdlib"))

# A model and a run small enough that starting the processes is most of the time.
SMALL_RUN = (
    "model={d_model: 64, d_kv: 16, d_ff: 128, num_layers: 2, num_heads: 4, dropout_rate: 0.1}",
    "data.tokenizer={vocab_size: 1024, sample_bytes: 200000}",
    "stream.window=128",
    "data.heldout_fraction=0.1",
    "training.global_batch=16",
    "training.micro_batch=4",
    "training.heldout_samples=8",
    "training.evaluate_every=null",
    "training.threads_per_rank=1",
)


def spanwright(*arguments: str, cwd: Path, timeout: float = 900) -> subprocess.CompletedProcess[str]:
    """Run the command and show what it said when a test fails."""
    done = subprocess.run(
        [*SPANWRIGHT, *arguments], capture_output=True, text=True, cwd=cwd, timeout=timeout, check=False
    )
    print(done.stdout, done.stderr, sep="\n")
    return done


def write_jsonl(path: Path, texts: Sequence[str]) -> Path:
    """A user's JSONL file."""
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), encoding="utf-8")
    return path


def python_sources(folder: str) -> list[str]:
    """The text of the modules of one package of the standard library."""
    return [path.read_text(encoding="utf-8") for path in sorted((STDLIB / folder).glob("*.py"))]


@pytest.fixture(scope="session")
def small_corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """About 400 kB of Python in a JSONL file."""
    texts = [text for folder in ("json", "email", "logging") for text in python_sources(folder)]
    return write_jsonl(tmp_path_factory.mktemp("corpus") / "python.jsonl", texts)
