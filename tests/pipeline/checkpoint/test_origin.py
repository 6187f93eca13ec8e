"""A run goes back to an earlier step of its own, or starts from another run: everything of it, or its weights."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from data_prep.errors import CorruptionError, InputError
from pipeline.checkpoint.format import KINDS
from pipeline.checkpoint.load import newest_valid, saved_steps, step_folder
from pipeline.checkpoint.origin import checkpoint_of_run, go_back, take_everything, take_weights
from pipeline.checkpoint.places import open_store
from pipeline.checkpoint.resume import restore_state

from .conftest import SHAPES, KeptState, record, write

FINGERPRINTS = {"dataset_fingerprint": "1" * 64, "stream_fingerprint": "2" * 64, "tokenizer_digest": "3" * 64}


def restored(root: Path) -> KeptState:
    found = newest_valid(root)
    assert found.folder is not None
    assert found.record is not None
    state: Any = KeptState(seed=-1)
    restore_state(found.folder, found.record, state)
    return state


def test_going_back_makes_a_step_the_newest_and_keeps_what_came_after(
    save: Callable[..., Path], tmp_path: Path
) -> None:
    for step in (5, 10, 15):
        save(step, keep_last=3)
    root = tmp_path / "checkpoints"
    assert go_back(root, 5) == ["left-step-00000015", "left-step-00000010"]
    assert saved_steps(root) == [5]
    assert restored(root).same_as(KeptState(seed=5))
    assert go_back(root, 5) == []
    with pytest.raises(InputError, match=r"--from 10: there is no checkpoint of this step in .*; there are: 5"):
        go_back(root, 10)
    assert sorted(path.name for path in root.iterdir()) == [
        "left-step-00000010", "left-step-00000015", "step-00000005",
    ]  # fmt: skip


def test_going_back_to_a_damaged_checkpoint_is_refused_before_anything_moves(
    save: Callable[..., Path], tmp_path: Path
) -> None:
    for step in (5, 10):
        save(step)
    (tmp_path / "checkpoints" / "step-00000005" / "state.json").write_bytes(b"{}")
    with pytest.raises(CorruptionError, match=r"state\.json"):
        go_back(tmp_path / "checkpoints", 5)
    assert saved_steps(tmp_path / "checkpoints") == [10, 5]


def test_everything_of_another_run_is_taken_and_recorded(save: Callable[..., Path], tmp_path: Path) -> None:
    source = step_folder(tmp_path / "checkpoints", 5)
    save(5)
    take_everything(tmp_path / "new" / "checkpoints", source)
    found = newest_valid(tmp_path / "new" / "checkpoints")
    assert found.record == record(5).model_copy(update={"origin": str(source)})
    assert restored(tmp_path / "new" / "checkpoints").same_as(KeptState(seed=5))
    save(10)  # the other run goes on, and removes what was linked
    save(15, keep_last=1)
    assert restored(tmp_path / "new" / "checkpoints").same_as(KeptState(seed=5))


def test_the_weights_of_another_run_are_taken_and_everything_else_is_fresh(
    save: Callable[..., Path], tmp_path: Path
) -> None:
    save(5)
    source = step_folder(tmp_path / "checkpoints", 5)
    take_weights(tmp_path / "new", source, {"training": {"steps": 7}}, FINGERPRINTS)
    found = newest_valid(tmp_path / "new").record
    assert found is not None
    assert (found.step, found.position, found.tokens, found.last_loss, found.heldout) == (0, 0, 0, None, {})
    assert (found.origin, found.config) == (str(source), {"training": {"steps": 7}})
    assert {name: getattr(found, name) for name in FINGERPRINTS} == FINGERPRINTS
    state, old = restored(tmp_path / "new"), KeptState(seed=5)
    for name in SHAPES:
        assert torch.equal(state.tensors[name, "master"], old.tensors[name, "master"])
        assert not any(state.tensors[name, kind].any() for kind in KINDS if kind != "master")
    assert state.updates == 0
    assert "rng-00000.json" not in step_folder(tmp_path / "new", 0).names()


@pytest.mark.parametrize(
    ("optimizer", "kinds"),
    [("lion", {"master", "exp_avg"}), ("schedule_free", {"master", "exp_avg_sq", "z"}), ("adamw", set(KINDS))],
)
def test_weights_taken_from_another_run_begin_with_the_moments_of_the_new_ones_optimizer(
    save: Callable[..., Path], tmp_path: Path, optimizer: str, kinds: set[str]
) -> None:
    save(5)
    config = {"training": {"steps": 7, "optimizer": optimizer}}
    take_weights(tmp_path / "new", step_folder(tmp_path / "checkpoints", 5), config, FINGERPRINTS)
    folder, old = tmp_path / "new" / "step-00000000", KeptState(seed=5)
    found = {path.name.rpartition("-")[0]: load_file(path) for path in folder.glob("*.safetensors")}
    assert found.keys() - {"buffers"} == kinds
    for kind in kinds:
        for name, value in found[kind].items():
            begun = old.tensors[name, "master"] if kind in ("master", "z") else torch.zeros(SHAPES[name])
            assert torch.equal(value, begun)


def test_a_run_that_has_trained_takes_nothing_from_another(save: Callable[..., Path], tmp_path: Path) -> None:
    save(5)
    write(open_store(tmp_path / "other"), 7)
    for take in (
        lambda: take_everything(tmp_path / "checkpoints", step_folder(tmp_path / "other", 7)),
        lambda: take_weights(tmp_path / "checkpoints", step_folder(tmp_path / "other", 7), {}, FINGERPRINTS),
    ):
        with pytest.raises(InputError, match="this run has trained already"):
            take()
    with pytest.raises(InputError, match=r"--from elsewhere: this run has no valid checkpoint"):
        checkpoint_of_run(Path("elsewhere"), str(tmp_path / "nothing"))
