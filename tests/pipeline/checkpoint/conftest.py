"""A process group of one, and a training state kept in a dictionary: what save needs, without a training."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from pipeline.checkpoint.config import CheckpointConfig
from pipeline.checkpoint.format import Kind, Manifest, Record, encode_manifest
from pipeline.checkpoint.places import open_store
from pipeline.checkpoint.rng import capture_generators, seed_generators
from pipeline.checkpoint.save import owned_files, write_checkpoint
from pipeline.checkpoint.store import Store
from pipeline.training.rank import Rank

RANK = Rank(0, 1, 0, 1, torch.device("cpu"))
SHAPES = {"model.embedding.weight": (64, 48), "model.norm.weight": (48,), "model.up.weight": (3, 8)}
BUFFERS = {"model.queue": (16, 8), "model.steps": ()}


class KeptState:
    """Parameters, moments and buffers of a model of three parameters."""

    shapes = SHAPES
    buffer_shapes = BUFFERS
    moments = None

    def __init__(self, seed: int = 0) -> None:
        generator = torch.Generator().manual_seed(seed)
        kinds: tuple[Kind, ...] = ("master", "exp_avg", "exp_avg_sq")
        self.tensors = {
            (name, kind): torch.randn(shape, generator=generator) for name, shape in SHAPES.items() for kind in kinds
        }

        self.buffers = {
            "model.queue": torch.randn((16, 8), generator=generator).bfloat16(),
            "model.steps": torch.tensor(seed),
        }
        self.updates: int | None = None

    def read(self, name: str, kind: Kind) -> torch.Tensor:
        return self.tensors[name, kind].clone()

    def write(self, name: str, kind: Kind, value: torch.Tensor) -> None:
        self.tensors[name, kind] = value

    def read_buffers(self) -> dict[str, torch.Tensor]:
        return {name: value.clone() for name, value in self.buffers.items()}

    def write_buffers(self, values: dict[str, torch.Tensor]) -> None:
        self.buffers = dict(values)

    def finish_write(self, num_updates: int) -> None:
        self.updates = num_updates

    def same_as(self, other: "KeptState") -> bool:
        mine, theirs = self.tensors | self.buffers, other.tensors | other.buffers  # type: ignore[operator]
        return all(mine[key].dtype == theirs[key].dtype and torch.equal(mine[key], theirs[key]) for key in mine)


def record(step: int) -> Record:
    return Record(
        step=step,
        position=step * 4,
        tokens=step * 100,
        config={"training": {"steps": 100}},
        dataset_fingerprint="d" * 64,
        stream_fingerprint="e" * 64,
        tokenizer_digest="f" * 64,
        parameters={name: list(shape) for name, shape in SHAPES.items()},
        last_loss=(1.25).hex(),
        heldout={"before": 7.0},
        environment={"world_size": 1},
        buffers={name: list(shape) for name, shape in BUFFERS.items()},
    )


def write(store: Store, step: int, **keep: Any) -> Path:
    """The checkpoint of a state that is a function of `step`."""
    seed_generators(step, RANK.index)
    state: Any = KeptState(seed=step)
    written = write_checkpoint(
        store, record(step), owned_files(state, RANK), capture_generators(), RANK, CheckpointConfig(**keep)
    )
    return Path(str(written))


@pytest.fixture(scope="session", autouse=True)
def _alone(process_group: None) -> None:
    """Saving and loading talk to all ranks."""


@pytest.fixture
def save(tmp_path: Path) -> Callable[..., Path]:
    """`save(step, keep_last=2)`: a checkpoint below tmp_path / "checkpoints"."""

    def save_step(step: int, **keep: Any) -> Path:
        return write(open_store(tmp_path / "checkpoints"), step, **keep)

    return save_step


def rewrite_manifest(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change the manifest's content and give it the digest that fits, as somebody with bad intentions would."""
    content = json.loads((folder / "manifest.json").read_bytes())
    content.pop("digest")
    change(content)
    (folder / "manifest.json").write_bytes(encode_manifest(Manifest.model_validate(content)))
