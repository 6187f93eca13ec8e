"""What a checkpoint costs: how long training waits, how fast it is written and read, and how soon a resumed run reads.

1. A state of random tensors (`--megabytes`) on one rank; steps of training are matrix products between the saves.
2. Rounds in turn: a plain write of as many bytes with one flush, a save that training waits for, one beside training.
3. The first batch after a resume is located in an index of a million chunks, at steps 10, 10,000 and 10,000,000.
"""

import argparse
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist

from benchmarks import frame
from pipeline.checkpoint.config import CheckpointConfig
from pipeline.checkpoint.format import KINDS, Kind, Record
from pipeline.checkpoint.load import newest_valid
from pipeline.checkpoint.local_store import LocalStore
from pipeline.checkpoint.resume import restore_state
from pipeline.checkpoint.saver import Saved, Saver
from pipeline.stream import Stream, StreamConfig
from pipeline.training.rank import Rank

GOALS = {"stall_sync_vs_async": 5.0, "save_vs_raw_disk": 0.5, "first_batch_early_vs_late": 0.5}
STEPS = (10, 10_000, 10_000_000)
_GLOBAL_BATCH, _SHARDS, _CHUNKS_PER_SHARD, _WINDOWS_PER_CHUNK = 256, 4000, 250, 500
_BLOCK_BYTES = 8 << 20
_TENSORS = 8
_RANK = Rank(0, 1, 0, 1, torch.device("cpu"))


class _State:
    """Training state of `_TENSORS` matrices, as a saver and a resume see it."""

    def __init__(self, megabytes: int) -> None:
        self.buffer_shapes: dict[str, tuple[int, ...]] = {}
        self.moments = None
        rows = megabytes * 2**20 // 4 // len(KINDS) // _TENSORS // 1024
        self.shapes = {f"matrix{number}": (rows, 1024) for number in range(_TENSORS)}
        self._tensors = {(name, kind): torch.randn(shape) for name, shape in self.shapes.items() for kind in KINDS}

    @property
    def num_bytes(self) -> int:
        return sum(tensor.nbytes for tensor in self._tensors.values())

    def read(self, name: str, kind: Kind) -> torch.Tensor:
        return self._tensors[name, kind].add(0.0)

    def write(self, name: str, kind: Kind, value: torch.Tensor) -> None:
        self._tensors[name, kind].copy_(value)

    def read_buffers(self) -> dict[str, torch.Tensor]:
        return {}

    def write_buffers(self, values: Any) -> None: ...

    def finish_write(self, num_updates: int) -> None: ...


class _Index:
    """A split with the window counts of a very large dataset and no tokens."""

    fingerprint, name, num_shards, folder = "synthetic", "train", _SHARDS, Path("synthetic")

    def shard_window_counts(self, *_: Any) -> np.ndarray:
        return np.full(_SHARDS, _CHUNKS_PER_SHARD * _WINDOWS_PER_CHUNK)

    def chunk_window_counts(self, *_: Any) -> np.ndarray:
        return np.full(_CHUNKS_PER_SHARD, _WINDOWS_PER_CHUNK)

    def first_chunk(self, shard: int) -> int:
        return shard * _CHUNKS_PER_SHARD


def measure(given: argparse.Namespace) -> frame.Outcome:
    """Save, load and seek, in rounds."""
    torch.set_num_threads(1)
    state: Any = _State(given.megabytes)
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        rounds = list(_rounds(state, Path(folder), given.rounds))
    dist.destroy_process_group()
    median = {name: statistics.median(part[name] for part in rounds) for name in rounds[0]}
    seeks = {step: statistics.median(_first_batch_seconds(step) for _ in range(given.rounds)) for step in STEPS}
    size = state.num_bytes / 1e6
    figures = {
        "checkpoint_mb": round(size, 1),
        "seconds": {name: {"median": seconds} for name, seconds in median.items()},
        "mb_per_second": {name: {"median": size / median[name]} for name in ("raw_write", "save_sync", "load")},
        "first_batch_ms": {f"step {step:,}": {"median": seconds * 1e3} for step, seconds in seeks.items()},
    }
    ratios = {
        "stall_sync_vs_async": frame.median_ratio(*_columns(rounds, "stall_sync", "stall_async")),
        "save_vs_raw_disk": frame.median_ratio(*_columns(rounds, "raw_write", "save_sync")),
        "first_batch_early_vs_late": seeks[STEPS[0]] / seeks[STEPS[-1]],
    }
    return frame.Outcome("checkpoint", figures, ratios, GOALS, ("torch", "safetensors"))


def _columns(rounds: list[dict[str, float]], *names: str) -> list[list[float]]:
    return [[part[name] for part in rounds] for name in names]


def _rounds(state: Any, folder: Path, rounds: int) -> Iterator[dict[str, float]]:
    for number in range(rounds):
        waited = _save(state, folder / "sync", number, background=False)
        beside = _save(state, folder / "async", number, background=True)
        yield {
            "raw_write": _seconds(lambda: _write_plainly(folder / "raw", state.num_bytes)),
            "save_sync": waited.seconds, "stall_sync": waited.stall_seconds,
            "save_async": beside.seconds, "stall_async": beside.stall_seconds,
            "load": _seconds(lambda: _load(state, folder / "sync")),
        }  # fmt: skip
        shutil.rmtree(folder / "sync")
        shutil.rmtree(folder / "async")
        frame.note(f"round {number + 1} of {rounds}")


def _save(state: Any, root: Path, number: int, background: bool) -> Saved:
    saver = Saver(LocalStore(root), _RANK, CheckpointConfig(background=background))
    saved = saver.save(_record(state, number + 1), state)
    while saved is None:
        _train_a_step()
        saved = saver.poll()
    return saved


def _train_a_step() -> None:
    left = torch.ones(256, 256)
    for _ in range(20):
        left = left @ left / 256


def _load(state: Any, root: Path) -> None:
    found = newest_valid(root)
    assert found.folder is not None
    assert found.record is not None
    restore_state(found.folder, found.record, state)


def _write_plainly(path: Path, num_bytes: int) -> None:
    block = os.urandom(_BLOCK_BYTES)
    with open(path, "wb") as file:
        for _ in range(num_bytes // _BLOCK_BYTES):
            file.write(block)
        file.flush()
        os.fsync(file.fileno())
    path.unlink()


def _first_batch_seconds(step: int) -> float:
    split: Any = _Index()
    stream = Stream(split, StreamConfig(), seed=1)
    return _seconds(lambda: [stream.locate(step * _GLOBAL_BATCH + number) for number in range(_GLOBAL_BATCH)])


def _seconds(work: Callable[[], object]) -> float:
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def _record(state: Any, step: int) -> Record:
    return Record(
        step=step, position=step, tokens=step, config={}, dataset_fingerprint="", stream_fingerprint="",
        tokenizer_digest="", parameters={name: list(shape) for name, shape in state.shapes.items()}, last_loss=None,
        heldout={}, environment={},
    )  # fmt: skip


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=384, help="size of the training state")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", help="where to write (default: the system's temporary folder)")
    frame.main(parser, measure)
