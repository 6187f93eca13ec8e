"""Two ranks save without a pause and are killed at random times, again and again: `killed_ranks.py FOLDER TRIALS SEED`.

There are TRIALS kills, and more where too few of them fell into a save (on a slow machine one save takes seconds).

This process has everything imported and forks the ranks of each trial, so that a trial costs no start-up. A trial goes
on where the killed one before it left off. One rank gets SIGKILL at a random time after the trial's first acknowledged
save; the other goes on without it for a moment and is then killed too, as the launcher does it. Prints a JSON report.
"""

import dataclasses
import itertools
import json
import os
import random
import select
import signal
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import safetensors.torch
import torch
import torch.distributed as dist
from conftest import SHAPES, KeptState, record

from pipeline.checkpoint.config import CheckpointConfig
from pipeline.checkpoint.format import KINDS
from pipeline.checkpoint.load import newest_valid
from pipeline.checkpoint.places import open_store
from pipeline.checkpoint.resume import agree_on_checkpoint
from pipeline.checkpoint.saver import Saver
from pipeline.checkpoint.store import Folder
from pipeline.training.rank import Rank

RANKS = 2
LONGEST_SECONDS = 0.25  # from the first acknowledged save to the kill: a few saves
MOST_ROUNDS = 10


def save_for_ever(root: Path, meeting: Path, index: int, background: bool, acknowledge: int) -> None:
    """One rank: go on from the newest valid checkpoint and save every step; rank 0 acknowledges what is on the disk."""
    dist.init_process_group("gloo", store=dist.FileStore(str(meeting), RANKS), rank=index, world_size=RANKS)
    rank = Rank(index, RANKS, index, RANKS, torch.device("cpu"))
    found = agree_on_checkpoint(open_store(root), rank, lambda text: None)
    saver = Saver(open_store(root), rank, CheckpointConfig(keep_last=1, background=background))
    for step in itertools.count(found[1].step + 1 if found else 1):
        state: Any = KeptState(seed=step)
        saved = saver.save(record(step), state)
        if saved is not None and rank.is_first:
            os.write(acknowledge, saved.step.to_bytes(8, "little"))


def fork_rank(*arguments: Any) -> int:
    pid = os.fork()
    if pid == 0:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # how gloo speaks of a lost peer is not of interest
        try:
            save_for_ever(*arguments)
        finally:
            os._exit(1)
    return pid


@dataclasses.dataclass
class Report:
    kills: int = 0
    inside_a_save: int = 0
    acknowledged: int = 0
    wrong: list[str] = dataclasses.field(default_factory=list)


def trial(root: Path, number: int, draw: random.Random, report: Report) -> None:
    reading, writing = os.pipe()
    meeting = root.parent / f"meeting-{number}"
    ranks = [fork_rank(root, meeting, index, number % 2 == 0, writing) for index in range(RANKS)]
    os.close(writing)
    assert select.select([reading], [], [], 120)[0], "no save was acknowledged"
    time.sleep(draw.uniform(0.0, LONGEST_SECONDS))
    victims = draw.sample(ranks, RANKS)
    for pid in victims:
        os.kill(pid, signal.SIGKILL)
        time.sleep(draw.choice([0.0, draw.uniform(0.0, 0.03)]))
    codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in victims]
    assert codes[0] == -signal.SIGKILL, "the rank had ended before it was killed"
    report.kills += 1
    report.inside_a_save += bool(list(root.glob(".saving-*")))
    check(root, acknowledged_steps(reading), report)


def acknowledged_steps(reading: int) -> list[int]:
    data = b""
    while piece := os.read(reading, 1 << 16):
        data += piece
    os.close(reading)
    return [int.from_bytes(data[at : at + 8], "little") for at in range(0, len(data), 8)]


def check(root: Path, acknowledged: list[int], report: Report) -> None:
    report.acknowledged += len(acknowledged)
    found = newest_valid(root)
    if found.folder is None or found.record is None:
        report.wrong.append(f"none is loadable after step {acknowledged[-1]}")
        return
    report.wrong += [f"damaged: {problem}" for _, problem in found.problems]
    if found.record.step < acknowledged[-1]:
        report.wrong.append(f"step {acknowledged[-1]} was acknowledged, {found.record.step} is the newest")
    if found.record != record(found.record.step) or not same_state(found.folder, KeptState(seed=found.record.step)):
        report.wrong.append(f"step {found.record.step} holds another state")


def same_state(folder: Folder, expected: KeptState) -> bool:
    for kind in KINDS:
        tensors = safetensors.torch.load_file(f"{folder}/{kind}-00000.safetensors")
        if not all(torch.equal(tensors[name], expected.tensors[name, kind]) for name in SHAPES):
            return False
    return True


if __name__ == "__main__":
    folder, trials, seed = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    torch.set_num_threads(1)
    outcome, random_times = Report(), random.Random(seed)
    for current in range(trials * MOST_ROUNDS):
        if current >= trials and outcome.inside_a_save >= trials // 4:
            break
        trial(folder / "checkpoints", current, random_times, outcome)
    print(json.dumps(dataclasses.asdict(outcome)))
