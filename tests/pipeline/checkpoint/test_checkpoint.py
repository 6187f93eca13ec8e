"""What is saved is read back; what was changed in any way since is refused by name."""

import os
import random
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from data_prep.errors import CorruptionError, InputError, SpanwrightError
from pipeline.checkpoint.config import CheckpointConfig
from pipeline.checkpoint.format import plan_files
from pipeline.checkpoint.load import newest_valid, saved_steps
from pipeline.checkpoint.origin import go_back
from pipeline.checkpoint.places import open_store
from pipeline.checkpoint.resume import agree_on_checkpoint
from pipeline.checkpoint.retention import set_aside_to_remove, steps_to_remove
from pipeline.checkpoint.rng import capture_generators, restore_generators, seed_generators
from pipeline.checkpoint.verify import audit_checkpoint, checkpoint_bytes, verify_checkpoint
from pipeline.checkpoint.weights import load_weights, newest_and_skipped, newest_checkpoint

from .conftest import RANK, SHAPES, KeptState, record, rewrite_manifest

FILES = [
    "buffers-00000.safetensors", "exp_avg-00000.safetensors", "exp_avg_sq-00000.safetensors", "manifest.json",
    "master-00000.safetensors", "rng-00000.json", "state.json",
]  # fmt: skip


def test_a_saved_checkpoint_verifies_and_gives_its_record_and_weights_back(save):
    folder = save(5)
    assert sorted(path.name for path in folder.iterdir()) == FILES
    assert verify_checkpoint(folder) == record(5)
    assert audit_checkpoint(folder) == []
    weights = load_weights(folder)
    expected = {name: KeptState(seed=5).read(name, "master") for name in SHAPES}
    assert sorted(weights) == sorted(expected)
    assert all(torch.equal(weights[name], expected[name]) for name in expected)
    assert checkpoint_bytes(folder) == sum((folder / name).stat().st_size for name in FILES if name != "manifest.json")


def test_saving_the_same_state_twice_gives_the_same_bytes(save, tmp_path):
    first = {name: (save(5) / name).read_bytes() for name in FILES}
    shutil.rmtree(tmp_path / "checkpoints")
    assert {name: (save(5) / name).read_bytes() for name in FILES} == first


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_a_link_and_a_folder_in_its_place_are_refused_by_name(save, name):
    folder = save(5)
    path = folder / name
    path.rename(folder.parent / "elsewhere")
    with pytest.raises(CorruptionError, match=f"{name}: missing"):
        verify_checkpoint(folder)
    path.symlink_to(folder.parent / "elsewhere")
    with pytest.raises(CorruptionError, match=f"{name}: "):
        verify_checkpoint(folder)
    path.unlink()
    path.mkdir()
    with pytest.raises(CorruptionError, match=f"{name}: not a regular file"):
        verify_checkpoint(folder)
    path.rmdir()
    os.mkfifo(path)
    with pytest.raises(CorruptionError, match=f"{name}: not a regular file"):
        verify_checkpoint(folder)


def test_an_extra_file_is_refused_by_name(save):
    folder = save(5)
    (folder / "extra.pt").write_bytes(b"")
    with pytest.raises(CorruptionError, match=r"extra\.pt: not part of the checkpoint"):
        verify_checkpoint(folder)


def test_files_of_another_step_are_refused(save):
    older, newer = save(5), save(6)
    for name in FILES:
        assert (older / name).read_bytes() != (newer / name).read_bytes()
        shutil.copy(older / name, newer / name)
        assert audit_checkpoint(newer), name
        shutil.rmtree(newer)
        newer = save(6)
    shutil.rmtree(newer)
    shutil.copytree(older, newer)
    with pytest.raises(CorruptionError, match="step-00000006: holds the checkpoint of step 5"):
        verify_checkpoint(newer)


@pytest.mark.parametrize("name", ["../outside.json", "/etc/passwd", "a/b.json", "..", "x.pt", "manifest.json"])
def test_a_manifest_that_names_a_file_elsewhere_is_refused(save, name):
    folder = save(5)
    rewrite_manifest(folder, lambda content: content["files"].update({name: {"size": 0, "sha256": "0" * 64}}))
    with pytest.raises(CorruptionError, match="lists a file named"):
        verify_checkpoint(folder)


def test_a_manifest_of_another_version_or_without_a_planned_file_is_refused(save):
    folder = save(5)
    rewrite_manifest(folder, lambda content: content.update(format_version=2))
    with pytest.raises(CorruptionError, match="format version 2"):
        verify_checkpoint(folder)
    rewrite_manifest(folder, lambda content: content.update(format_version=1))
    (folder / "exp_avg-00000.safetensors").unlink()
    rewrite_manifest(folder, lambda content: content["files"].pop("exp_avg-00000.safetensors"))
    with pytest.raises(CorruptionError, match=r"exp_avg-00000\.safetensors: missing in the checkpoint's manifest"):
        verify_checkpoint(folder)


def test_the_newest_valid_checkpoint_is_found_and_the_others_are_named(save, tmp_path):
    root = tmp_path / "checkpoints"
    assert newest_valid(root).folder is None
    with pytest.raises(InputError, match="no valid checkpoint"):
        newest_checkpoint(root)
    for step in (5, 10, 15):
        save(step, keep_last=3)
    (root / "step-00000015" / "state.json").write_bytes(b"{}")
    found = newest_valid(root)
    assert found.folder is not None
    assert str(found.folder) == str(root / "step-00000010") == str(newest_checkpoint(root))
    assert found.record == record(10)
    assert [folder.name for folder, _ in found.problems] == ["step-00000015"]
    assert newest_and_skipped(root)[1] == [f"step-00000010 is taken: {found.problems[0][1]}"]
    for step in (5, 10):
        (root / f"step-{step:08d}" / "state.json").write_bytes(b"{}")
    with pytest.raises(
        InputError, match=r"no valid checkpoint: .*step-00000015.*2 bytes where the manifest says \d+; train"
    ):
        newest_checkpoint(root)


def test_a_save_over_a_stale_checkpoint_of_the_same_step_sets_that_one_aside(save, tmp_path):
    stale = save(5)
    (stale / "state.json").write_bytes(b"{}")
    assert verify_checkpoint(save(5)) == record(5)
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == [
        "damaged-step-00000005",
        "step-00000005",
    ]


def test_what_a_killed_save_left_is_removed_by_the_next(save, tmp_path):
    for name in (".saving-step-00000004", ".removing-step-00000001"):
        (tmp_path / "checkpoints" / name).mkdir(parents=True)
        (tmp_path / "checkpoints" / name / "master-00000.safetensors").write_bytes(b"half")
    save(5)
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step-00000005"]


def test_a_folder_that_cannot_be_written_is_one_message(save, tmp_path):
    (tmp_path / "checkpoints").write_text("a file where the folder should be")
    with pytest.raises(SpanwrightError, match=r"the checkpoint step-00000005 could not be saved: .*checkpoints"):
        save(5)


def test_retention_keeps_the_last_and_the_multiples(save, tmp_path):
    for step in range(1, 11):
        save(step, keep_last=2, keep_every=4)
    assert saved_steps(tmp_path / "checkpoints") == [10, 9, 8, 4]


def test_retention_never_removes_the_checkpoint_just_saved(save, tmp_path):
    save(20)
    save(5, keep_last=1)  # a run that fell back behind a later checkpoint
    assert saved_steps(tmp_path / "checkpoints") == [20, 5]


def test_the_rule_of_retention():
    assert steps_to_remove([3, 1, 2], CheckpointConfig(keep_last=1)) == [1, 2]
    assert steps_to_remove([1, 2, 3, 4], CheckpointConfig(keep_last=1, keep_every=2)) == [1, 3]
    assert steps_to_remove([], CheckpointConfig()) == []


def test_of_what_was_set_aside_the_latest_stay_once_a_newer_checkpoint_is_saved(save, tmp_path):
    root = tmp_path / "checkpoints"
    for step in range(1, 9):
        save(step, keep_last=8, keep_every=4)
    assert len(go_back(root, 3)) == 5
    for step in (3, 2):
        (root / f"step-{step:08d}" / "state.json").write_bytes(b"{}")
        agree_on_checkpoint(open_store(root), RANK, lambda text: None)
    (root / "left-step-00000009-notes").mkdir()  # the user's own
    before = {path.name for path in root.iterdir()}
    save(2, keep_last=1, keep_every=4)
    removed = {"step-00000001", "damaged-step-00000002", *(f"left-step-{step:08d}" for step in (5, 6, 7))}
    assert before - {path.name for path in root.iterdir()} == removed
    assert {path.name for path in root.iterdir()} - before == {"step-00000002"}


def test_the_rule_of_what_was_set_aside():
    names = [
        "damaged-step-00000008", "damaged-step-00000008-2", "damaged-step-00000008-10", "left-step-00000012",
        "left-step-00000008", "left-step-00000004", "step-00000016", "left-step-8", "damaged-", "left-other",
    ]  # fmt: skip
    damaged = ["damaged-step-00000008", "damaged-step-00000008-2"]
    assert set_aside_to_remove(names, CheckpointConfig(keep_every=4)) == damaged
    assert set_aside_to_remove(names, CheckpointConfig(keep_every=8)) == [*damaged, "left-step-00000004"]
    assert set_aside_to_remove(names, CheckpointConfig()) == [*damaged, "left-step-00000004", "left-step-00000008"]


def test_files_are_planned_by_names_and_sizes_alone():
    shapes = {"c": (10,), "a": (4, 5), "b": (1000,)}
    plan = plan_files(shapes, file_bytes=200)
    assert [(file.file_name, file.names) for file in plan if file.kind == "master"] == [
        ("master-00000.safetensors", ("a",)),
        ("master-00001.safetensors", ("b",)),
        ("master-00002.safetensors", ("c",)),
    ]
    assert len(plan) == 9
    assert plan_files(dict(reversed(shapes.items())), file_bytes=200) == plan
    some = plan_files(shapes, {"exp_avg": ["b", "a"], "exp_avg_sq": []}, file_bytes=200)
    assert [file for file in some if file.kind != "exp_avg"] == plan[:3]
    assert [(file.file_name, file.names) for file in some[3:]] == [
        ("exp_avg-00000.safetensors", ("a",)), ("exp_avg-00001.safetensors", ("b",)),
    ]  # fmt: skip


def test_generators_go_on_where_they_were():
    seed_generators(seed=3, rank=0)
    random.random(), np.random.random(), torch.rand(1)
    state = capture_generators()
    drawn = (random.random(), random.gauss(), np.random.normal(), torch.rand(3).tolist())
    seed_generators(seed=4, rank=0)
    restore_generators(state)
    assert (random.random(), random.gauss(), np.random.normal(), torch.rand(3).tolist()) == drawn


def test_a_checkpoint_is_read_in_another_place(save, tmp_path):
    moved = tmp_path / "moved" / "step-00000005"
    shutil.move(save(5), moved)
    assert verify_checkpoint(Path(moved)) == record(5)
