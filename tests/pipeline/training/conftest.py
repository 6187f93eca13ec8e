"""Real runs small enough for seconds: a tokenizer and shards of two of Python's own modules, a model of two layers."""

import json
import os
import socket
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from data_prep.config import TokenizerConfig
from data_prep.shards import build_chunks, build_manifest, describe_tokenizer, write_manifest, write_shard
from data_prep.tokenizer import Tokenizer
from data_prep.tokenizer.train import train_model
from pipeline.config import RunConfig, save_config

WINDOW = 48
SAMPLES_IN_EPOCH_ABOUT = 30

MODEL = {
    "d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4, "dropout_rate": 0.1,
    "relative_attention_max_distance": 64,
}  # fmt: skip
TRAINING = {
    "steps": 12, "global_batch": 4, "micro_batch": 1, "ranks": 1, "threads_per_rank": 1, "zero_stage": 2,
    "precision": "bf16", "learning_rate": 1e-2, "weight_decay": 0.1, "heldout_samples": 3, "loader_workers": 0,
    "log_every": 1, "peak_tflops": 0.1, "schedule": {"kind": "cosine", "warmup_steps": 2},
}  # fmt: skip

RunMaker = Callable[..., Path]


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset with about thirty training windows of 48 tokens, so that a dozen steps reach a second epoch."""
    folder = tmp_path_factory.mktemp("dataset")
    lines = Path(textwrap.__file__).read_text(encoding="utf-8").splitlines(keepends=True)
    texts = ["".join(lines[start : start + 12]) for start in range(0, len(lines), 12)]
    (folder / "tokenizer").mkdir()
    model = train_model(texts, TokenizerConfig(vocab_size=700))
    (folder / "tokenizer" / "spiece.model").write_bytes(model.model)
    tokenizer = Tokenizer.load(folder / "tokenizer")
    documents = [(f"textwrap:{number}", tokenizer.encode(text)) for number, text in enumerate(texts)]
    train, heldout = documents[:10], documents[10:14]
    entries = {
        "train": [
            write_shard(folder, f"shard-{i:05d}", build_chunks(train[i::2], "uint16"), [WINDOW]) for i in range(2)
        ],
        "heldout": [write_shard(folder, "shard-00002", build_chunks(heldout, "uint16"), [WINDOW])],
    }
    described = describe_tokenizer(folder, "tokenizer", tokenizer.digest, tokenizer.vocab_size)
    write_manifest(folder, build_manifest("textwrap", described, entries, {}, {}))
    return folder


@pytest.fixture(scope="session")
def make_run(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> RunMaker:
    """A run folder with a config: `make_run(steps=6, checkpoint={...})` (training fields, and other `sections`)."""

    def make(
        checkpoint: dict[str, Any] | None = None,
        model: dict[str, Any] | None = None,
        seed: int = 5,
        run_dir: Path | None = None,
        sections: dict[str, Any] | None = None,
        **training: Any,
    ) -> Path:
        folder = run_dir or tmp_path_factory.mktemp("run")
        config = RunConfig.model_validate(
            {
                "recipe": {"name": "t5", "family": "test", "source": "none", "summary": "none", "export": "none"},
                "data": {"paths": ["unused.txt"], "dir": str(dataset)},
                "model": {**MODEL, **(model or {})},
                "stream": {"window": WINDOW},
                "corruption": {
                    "select": {"kind": "t5_spans"},
                    "replace": {"kind": "sentinel_per_span"},
                    "layout": {"kind": "sentinel_targets"},
                },
                "objective": {"kind": "denoising"},
                "training": {**TRAINING, **training},
                "checkpoint": {"save_every": 5, **(checkpoint or {})},
                "run": {"dir": str(folder), "seed": seed},
                **(sections or {}),
            }
        )
        save_config(config)
        return folder

    return make


@pytest.fixture(scope="session")
def launch() -> Callable[..., subprocess.CompletedProcess[str]]:
    """`launch(run_dir, ranks=2)`: launch_local in a process of its own, as the command line calls it."""

    def start(run_dir: Path, ranks: int = 1, timeout: float = 180.0) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            launch_command(run_dir, ranks), capture_output=True, text=True, timeout=timeout, check=False
        )

    return start


def launch_command(run_dir: Path, ranks: int) -> list[str]:
    """The command line that calls launch_local."""
    call = (
        f"import pathlib, launch.local as l; raise SystemExit(l.launch_local(pathlib.Path({str(run_dir)!r}), {ranks}))"
    )
    return [sys.executable, "-c", call]


def run_ranks(script: str, world_size: int, *arguments: object, timeout: float = 900.0) -> tuple[list[int], str]:
    """Run a script (of this folder, or a path) as `world_size` ranks; their return codes, and what they printed."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    common = {
        **os.environ, "WORLD_SIZE": str(world_size), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port),
        "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo", "PYTHONWARNINGS": "ignore",
        "PYTHONPATH": str(Path(__file__).parents[3]),
    }  # fmt: skip
    ranks = [
        subprocess.Popen(
            [sys.executable, str(Path(__file__).parent / script), *map(str, arguments)],
            env={**common, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        for rank in range(world_size)
    ]
    try:
        output = "".join(rank.communicate(timeout=timeout)[0].decode() for rank in ranks)
    finally:
        for rank in ranks:
            rank.kill()
    return [rank.returncode for rank in ranks], output


def run_jobs(jobs: list[dict[str, Any]], ranks: int, folder: Path, name: str = "jobs") -> list[list[dict[str, Any]]]:
    """Carry jobs out on real ranks (see sessions_rank.py); the reports by job and rank."""
    reports = folder / f"{name}-reports"
    reports.mkdir()
    (folder / f"{name}.json").write_text(json.dumps(jobs), encoding="utf-8")
    seconds = 240.0 + 30.0 * len(jobs)  # on a machine that is busy with other work
    codes, output = run_ranks("sessions_rank.py", ranks, folder / f"{name}.json", reports, timeout=seconds)
    assert codes == [0] * ranks, output[-3000:]
    of_ranks = [json.loads((reports / f"rank-{rank}.json").read_text(encoding="utf-8")) for rank in range(ranks)]
    return [list(of_job) for of_job in zip(*of_ranks, strict=True)]


def metrics(run_dir: Path) -> list[dict[str, Any]]:
    """The records of metrics.jsonl."""
    text = (run_dir / "train" / "metrics.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def losses(run_dir: Path) -> list[tuple[int, str]]:
    """(step, hexadecimal loss) of every training and held-out record, in the order of the file."""
    return [(record["step"], record.get("loss_hex") or record["heldout_loss_hex"]) for record in metrics(run_dir)]


def result(run_dir: Path) -> dict[str, Any]:
    """What result.json says."""
    return json.loads((run_dir / "train" / "result.json").read_text(encoding="utf-8"))
