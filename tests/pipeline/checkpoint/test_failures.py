"""A failed save is never silent, and whatever fails, a valid checkpoint is there afterwards, at keep_last=1."""

import errno
import os
import shutil
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import pytest
import torch

from data_prep.errors import SpanwrightError
from data_prep.shards.files import named_errors
from pipeline.checkpoint.config import CheckpointConfig
from pipeline.checkpoint.disk import Disk
from pipeline.checkpoint.load import newest_valid, saved_steps
from pipeline.checkpoint.local_store import LocalStore
from pipeline.checkpoint.resume import restore_state
from pipeline.checkpoint.saver import Saver

from .conftest import RANK, KeptState, record

OPERATIONS = ("make_folder", "create", "append", "sync", "sync_folder", "rename", "remove_file", "remove_folder")


class FailingDisk(Disk):
    """Fails with `error_number` at operation `fail_at` (from 0) and at all after it, until it is `freed`.

    A full disk still removes.
    """

    def __init__(self, fail_at: int, error_number: int) -> None:
        self.done, self.fired, self.freed = 0, False, False
        self._fail_at, self._error_number = fail_at, error_number

    def __getattribute__(self, name: str) -> Any:
        value = super().__getattribute__(name)
        return self._failing(name, value) if name in OPERATIONS else value

    def _failing(self, name: str, operation: Callable[..., Any]) -> Callable[..., Any]:
        def run(target: Any, *more: Any) -> Any:
            number, self.done = self.done, self.done + 1
            removes = name.startswith("remove") and self._error_number == errno.ENOSPC
            if self.freed or number < self._fail_at or (removes and self.fired):
                return operation(target, *more)
            self.fired = True
            if name == "append":
                operation(target, more[0][: len(more[0]) // 2])
            path = target if isinstance(target, Path) else Path(target.name)
            with named_errors(path, "write"):
                raise OSError(self._error_number, os.strerror(self._error_number), str(path))

        return run


def save(saver: Saver, step: int) -> None:
    """Save and wait, as a run does that stops here."""
    state: Any = KeptState(seed=step)
    saver.save(record(step), state)
    saver.finish()


def newest(root: Path) -> int:
    """The step of the newest valid checkpoint, whose content is that step's, bit for bit; 0 when there is none."""
    found = newest_valid(root)
    if found.folder is None or found.record is None:
        return 0
    state: Any = KeptState()
    restore_state(found.folder, found.record, state)
    assert state.same_as(KeptState(seed=found.record.step))
    return found.record.step


def keep_one(background: bool) -> CheckpointConfig:
    return CheckpointConfig(keep_last=1, background=background)


@pytest.fixture
def saved_once(tmp_path: Path) -> Path:
    """A folder with the checkpoint of step 5."""
    root = tmp_path / "checkpoints"
    save(Saver(LocalStore(root), RANK, keep_one(False)), 5)
    return root


@pytest.mark.parametrize("background", [False, True])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES, errno.EIO])
def test_an_error_at_any_operation_of_a_save_is_raised_and_leaves_a_valid_checkpoint(
    saved_once: Path, tmp_path: Path, number: int, background: bool
) -> None:
    messages, operation = set(), 0
    while True:
        root = tmp_path / "copy"
        shutil.copytree(saved_once, root)
        disk = FailingDisk(operation, number)
        saver = Saver(LocalStore(root, disk), RANK, keep_one(background))
        try:
            save(saver, 10)
        except SpanwrightError as error:
            messages.add(str(error).partition(":")[0])
            assert disk.fired
        else:
            break  # this many operations make a save
        assert newest(root) in (5, 10)  # 10 when only what comes after its rename failed
        disk.freed = True
        save(saver, 15)
        assert newest(root) == 15
        assert saved_steps(root) == [15]
        shutil.rmtree(root)
        operation += 3 if background else 1  # the same code on another thread: every third place will do
    assert not disk.fired
    assert operation > 40
    assert messages == {
        "the checkpoint step-00000010 could not be saved",
        "the checkpoint step-00000010 is saved, but an older one could not be removed",
    }
    assert newest(root) == 10
    assert saved_steps(root) == [10]


def test_a_folder_without_permission_is_an_error_and_the_checkpoints_stay() -> None:
    with tempfile.TemporaryDirectory() as folder:  # pytest's own folders are closed to other users
        root = Path(folder) / "checkpoints"
        os.chmod(folder, 0o755)
        saver = Saver(LocalStore(root), RANK, keep_one(True))
        save(saver, 5)
        root.chmod(0o555)
        is_root = os.geteuid() == 0
        if is_root:
            os.seteuid(65534)  # permissions do not bind root
        try:
            with pytest.raises(SpanwrightError, match=r"could not be saved: .*no permission to write it"):
                save(saver, 10)
            assert newest(root) == 5
        finally:
            if is_root:
                os.seteuid(0)
            root.chmod(0o755)
        save(saver, 10)
        assert newest(root) == 10


class LyingDisk(Disk):
    """Says that it wrote, and keeps something else."""

    def append(self, file: BinaryIO, data: bytes | memoryview) -> None:
        changed = bytearray(data)
        changed[len(changed) // 2] ^= 1
        super().append(file, bytes(changed))


def test_what_is_read_back_differently_is_an_error_and_the_older_checkpoint_stays(saved_once: Path) -> None:
    saver = Saver(LocalStore(saved_once, LyingDisk()), RANK, keep_one(True))
    with pytest.raises(SpanwrightError, match="what was written is not what is read back"):
        save(saver, 10)
    assert newest(saved_once) == 5
    assert saved_steps(saved_once) == [5]


class DyingDisk(Disk):
    """Ends the thread that writes, as its own exit would."""

    def sync(self, file: BinaryIO) -> None:
        raise SystemExit


def test_a_writer_that_dies_is_an_error_at_the_next_save_and_at_the_end(saved_once: Path) -> None:
    for end in (lambda saver, state: saver.finish(), lambda saver, state: saver.save(record(15), state)):
        state: Any = KeptState(seed=10)
        saver = Saver(LocalStore(saved_once, DyingDisk()), RANK, keep_one(True))
        saver.save(record(10), state)
        with pytest.raises(SpanwrightError, match="step-00000010 could not be saved: SystemExit"):
            end(saver, state)
        assert newest(saved_once) == 5


class SlowDisk(Disk):
    """Waits at its first sync until it is let go."""

    def __init__(self) -> None:
        self.reached, self.go = threading.Event(), threading.Event()

    def sync(self, file: BinaryIO) -> None:
        self.reached.set()
        assert self.go.wait(300)
        super().sync(file)


def test_training_goes_on_while_a_slow_save_is_written_and_the_next_save_waits_for_it(saved_once: Path) -> None:
    disk, state = SlowDisk(), KeptState(seed=10)
    training_state: Any = state
    saver = Saver(LocalStore(saved_once, disk), RANK, keep_one(True))
    assert saver.save(record(10), training_state) is None
    assert disk.reached.wait(300)
    state.tensors = KeptState(seed=15).tensors  # training goes on: what is being written does not change
    state.buffers = KeptState(seed=15).buffers
    assert saver.poll() is None
    assert not saver.failed
    assert newest(saved_once) == 5
    threading.Timer(0.3, disk.go.set).start()
    before = saver.save(record(15), training_state)
    assert disk.go.is_set()
    assert before is not None
    assert (before.step, before.seconds >= before.stall_seconds) == (10, True)
    last = saver.finish()
    assert last is not None
    assert last.step == 15
    assert last.stall_seconds >= 0.2, "the wait for the save before counts"
    assert newest(saved_once) == 15
    assert saved_steps(saved_once) == [15]


@pytest.mark.parametrize("background", [False, True])
def test_saving_beside_training_or_not_writes_the_same_bytes(tmp_path: Path, background: bool) -> None:
    torch.manual_seed(1)
    contents = []
    for mode in (False, background):
        root = tmp_path / f"{mode}-{len(contents)}"
        save(Saver(LocalStore(root), RANK, keep_one(mode)), 10)
        contents.append({path.name: path.read_bytes() for path in (root / "step-00000010").iterdir()})
    assert contents[0] == contents[1]
